import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { ChaosProcesses } from './chaos-processes.ts';
import type { ChaosReceivers } from './chaos-receivers.ts';
import type { ChaosServers } from './chaos-servers.ts';

/** Resident memory by process, in MB: at the last look and at most. */
export type MemoryFigures = ReadonlyMap<string, { lastMb: number; mostMb: number }>;

interface Watched {
  processes: ChaosProcesses;
  servers: ChaosServers;
  receivers: ChaosReceivers;
}

const lookEveryMs = 1_000;

/** Looks at the processes of a run every second. */
export function watchMemory(watched: Watched): { figures: () => MemoryFigures } & AsyncDisposable {
  const figures = new Map<string, { lastMb: number; mostMb: number }>();
  let looking = Promise.resolve();
  const timer = setInterval(() => {
    looking = look(watched, figures);
  }, lookEveryMs);
  return {
    figures: () => figures,
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      await looking;
    },
  };
}

async function look(watched: Watched, figures: Map<string, { lastMb: number; mostMb: number }>): Promise<void> {
  const nameOf = namesByPid(watched);
  const pids = [...nameOf.keys()].join(',');
  const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=,rss=', '-p', pids]).catch(() => ({ stdout: '' }));
  for (const line of stdout.trim().split('\n')) {
    const [pid, rssKb] = line.trim().split(/\s+/).map(Number);
    const name = nameOf.get(pid ?? 0);
    if (name === undefined || rssKb === undefined) continue;
    const lastMb = rssKb / 1024;
    figures.set(name, { lastMb, mostMb: Math.max(lastMb, figures.get(name)?.mostMb ?? 0) });
  }
}

function namesByPid({ processes, servers, receivers }: Watched): Map<number, string> {
  return new Map([
    ...processes.members.map(({ name, life }): [number, string] => [life.running.process.pid ?? 0, name]),
    [servers.durable.pid(), 'durable Redis'],
    [servers.volatile.pid(), 'volatile Redis'],
    [receivers.pid, 'receivers'],
  ]);
}
