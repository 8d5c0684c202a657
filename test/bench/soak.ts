import { readFile } from 'node:fs/promises';
import { printTable } from './table.ts';
import { problemsOf, startSystem } from './system.ts';
import type { BenchRun, ScenarioResult } from './compare.ts';
import type { UsageReport } from './usage.ts';

const concurrency = 512;
const webhookCount = 20;
/** Callers that emit one event after the other: more than this machine delivers, so that the worker has always something to do. */
const callerCount = 64;
const drainLimitMs = 120_000;

/** Whether a worker's memory stays flat: ten minutes of all that it can deliver, its resident set after each. */
export async function runSoak({ stack, quick }: BenchRun): Promise<ScenarioResult[]> {
  const title = `soak: a worker with all it can do for ${quick ? 1 : 10} minutes`;
  await using system = await startSystem(stack, {
    kind: 'redis',
    concurrency,
    webhooks: Array(webhookCount).fill('/ok'),
  });
  const worker = await system.startWorker();
  const load = await system.startLoad();
  const rows: { minute: number; deliveriesPerSecond: number; rssMb: number }[] = [];
  let accepted = 0;
  for (let minute = 1; minute <= (quick ? 1 : 10); minute += 1) {
    process.stderr.write(`${title}: minute ${minute}\n`);
    const { acceptedCount, seconds } = await load.run({
      kind: 'loop',
      callerCount,
      bulkSize: 1,
      seconds: 60,
      types: system.types,
      tag: 'soak',
    });
    accepted += acceptedCount;
    rows.push({ minute, deliveriesPerSecond: acceptedCount / seconds, rssMb: await residentMb(worker.pid) });
  }
  await system.received(accepted, drainLimitMs);
  worker.tell({ kind: 'usage' });
  const { rssMaxMb } = await worker.hear<UsageReport>('usage');
  printTable(
    `${title} (largest resident set ${Math.round(rssMaxMb)} MB)`,
    rows.map((row) => ({ ...row })),
  );
  return [{ title, rows: [...rows, { rssMaxMb }], problems: await problemsOf(system, 'redis', accepted) }];
}

/** The resident set of a process in MB, as the kernel counts it. */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return (Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024) / 1e6;
}
