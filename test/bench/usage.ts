import { monitorEventLoopDelay } from 'node:perf_hooks';

/** What a process has used since `watchUsage`; of the event loop's delay, since the last report. */
export interface UsageReport {
  kind: 'usage';
  cpuMs: number;
  /** The largest resident set that was seen, in MB. */
  rssMaxMb: number;
  /** How late the event loop came to timers, in milliseconds. */
  loopDelayP99Ms: number;
}

/** Watches this process from now on, answers { kind: 'usage' } with what it has used, and ends it with the benchmark. */
export function watchUsage(): void {
  process.once('disconnect', () => process.exit(0)); // the benchmark has ended, perhaps by a signal
  const cpuBefore = process.cpuUsage();
  let rssMax = 0;
  const look = (): void => void (rssMax = Math.max(rssMax, process.memoryUsage.rss()));
  setInterval(look, 100).unref();
  const loopDelay = monitorEventLoopDelay({ resolution: 10 });
  loopDelay.enable();
  process.on('message', (told: { kind: string }) => {
    if (told.kind !== 'usage') return;
    look();
    const { user, system } = process.cpuUsage(cpuBefore);
    const report: UsageReport = {
      kind: 'usage',
      cpuMs: (user + system) / 1000,
      rssMaxMb: rssMax / 1e6,
      loopDelayP99Ms: loopDelay.percentile(99) / 1e6,
    };
    loopDelay.reset();
    process.send?.(report);
  });
}
