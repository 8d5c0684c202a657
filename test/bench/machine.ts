import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { cpus, loadavg, totalmem } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

// What a figure depends on besides the code: the machine, the versions, and who else was using it.

const root = path.resolve(import.meta.dirname, '../..');
/** Jiffies of /proc per second; Linux shows 100 on every machine we know. */
const jiffiesPerSecond = 100;

export interface MachineFacts {
  cpu: string;
  cores: number;
  memoryGb: number;
  versions: Record<string, string>;
  /** Average of the last minute, before anything was measured. */
  loadBefore: number;
  date: string;
  /** With `+` when files differ from it. */
  gitCommit: string;
}

export async function machineFacts(servers: { postgres: string; redis: string }): Promise<MachineFacts> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    versions: {
      node: process.versions.node,
      ...servers,
      bullmq: await packageVersion('bullmq'),
      undici: await packageVersion('undici'),
    },
    loadBefore: loadavg()[0] ?? Number.NaN,
    date: new Date().toISOString(),
    gitCommit: await gitCommit(),
  };
}

async function packageVersion(name: string): Promise<string> {
  const text = await readFile(path.join(root, 'node_modules', name, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

async function gitCommit(): Promise<string> {
  try {
    const run = promisify(execFile);
    const { stdout: commit } = await run('git', ['rev-parse', 'HEAD'], { cwd: root });
    const { stdout: changes } = await run('git', ['status', '--porcelain'], { cwd: root });
    return commit.trim() + (changes === '' ? '' : '+');
  } catch {
    return 'unknown'; // not a checkout
  }
}

interface ProcessCpu {
  parentPid: number;
  /** Its own and that of its children that have ended. */
  ms: number;
}

/** CPU time of a process and of all that descend from it, in milliseconds; 0 where there is no /proc. */
export async function cpuOfTreeMs(rootPid: number): Promise<number> {
  const processes = await readProcesses();
  let sum = 0;
  for (const [pid, { ms }] of processes) if (descendsFrom(processes, pid, rootPid)) sum += ms;
  return sum;
}

function descendsFrom(processes: ReadonlyMap<number, ProcessCpu>, pid: number, rootPid: number): boolean {
  for (let current: number | undefined = pid; current !== undefined; current = processes.get(current)?.parentPid) {
    if (current === rootPid) return true;
  }
  return false;
}

async function readProcesses(): Promise<Map<number, ProcessCpu>> {
  const names = await readdir('/proc').catch(() => []);
  const found = await Promise.all(
    names
      .filter((name) => /^\d+$/.test(name))
      .map(async (name): Promise<[number, ProcessCpu] | null> => {
        const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => null); // it has ended since
        if (stat === null) return null;
        const fields = stat
          .slice(stat.lastIndexOf(')') + 2)
          .split(' ')
          .map(Number); // from the third field on
        const jiffies = fields.slice(11, 15).reduce((sum, value) => sum + value, 0);
        return [Number(name), { parentPid: fields[1] ?? 0, ms: (jiffies * 1000) / jiffiesPerSecond }];
      }),
  );
  return new Map(found.filter((entry) => entry !== null));
}

/**
 * Starts to watch the CPU; the function it gives tells the share of all cores, from 0 to 1, that processes other than
 * this one and its descendants have used since (/proc/stat less our own); NaN where there is no /proc.
 */
export async function watchForeignCpu(): Promise<() => Promise<number>> {
  const before = await readCpu();
  return async () => {
    const after = await readCpu();
    const foreignMs = after.busyMs - before.busyMs - (after.oursMs - before.oursMs);
    return Math.max(0, foreignMs / (after.allMs - before.allMs));
  };
}

async function readCpu(): Promise<{ busyMs: number; allMs: number; oursMs: number }> {
  const stat = await readFile('/proc/stat', 'utf8').catch(() => '');
  const [, ...fields] = (stat.split('\n')[0] ?? '').split(/\s+/);
  const times = fields.slice(0, 8).map((field) => (Number(field) * 1000) / jiffiesPerSecond); // guests are in user
  const allMs = times.length === 0 ? Number.NaN : times.reduce((sum, value) => sum + value, 0);
  const idleMs = (times[3] ?? 0) + (times[4] ?? 0);
  return { busyMs: allMs - idleMs, allMs, oursMs: await cpuOfTreeMs(process.pid) };
}
