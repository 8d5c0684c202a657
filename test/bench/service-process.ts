import { pino } from 'pino';
import { loadConfig } from '../../src/config.ts';
import { startService } from '../../src/service.ts';
import { watchUsage } from './usage.ts';

// One role of the running system, `worker` or `gateway`, composed as `posthorn worker` and `posthorn gateway` are.

const role = process.env['BENCH_ROLE'];
watchUsage();
const service = await startService(
  loadConfig(process.env),
  { gateway: role === 'gateway', worker: role === 'worker', migrate: false },
  pino({ level: 'error' }, pino.destination(2)),
);
process.send?.({ kind: 'ready', url: service.url });
