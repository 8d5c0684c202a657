import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { startEmbeddedPostgres } from '../../src/stack/embedded-postgres.ts';
import { startTestRedis } from '../support/redis.ts';
import { drainBare, drainPosthorn } from './drain.ts';
import { measureLatency } from './latency.ts';

// `npm run bench`: deliveries per second of the whole worker, as a ratio to a bare BullMQ + undici loop without a
// database in the same run; latency from emit to receive at a steady rate; and whether plans collapsed on a database
// that was empty at the start. Everything shares this machine's cores. Bounded; every drain checks that
// received = accepted = recorded.

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '20000' },
    repeats: { type: 'string', default: '3' },
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '10' },
  },
});
const count = Number(values.count);
const round = (value: number): number => Math.round(value * 100) / 100;
const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

await using stack = new AsyncDisposableStack();
const dataFolder = await mkdtemp(path.join(tmpdir(), 'posthorn-bench-'));
stack.defer(async () => await rm(dataFolder, { recursive: true, force: true }));
const postgres = stack.use(await startEmbeddedPostgres({ dataFolder }));
const redis = stack.use(await startTestRedis());

print({ bench: 'machine', cores: cpus().length, cpu: cpus()[0]?.model, node: process.version, count });
for (let repeat = 1; repeat <= Number(values.repeats); repeat += 1) {
  const bare = await drainBare(redis.url, count);
  print({
    bench: 'deliver',
    repeat,
    system: 'bare BullMQ + undici, no database',
    perSecond: Math.round(bare),
    ratio: 1,
  });
  for (const [system, redisUrl] of [
    ['Posthorn on Redis', redis.url],
    ['Posthorn embedded', null],
  ] as const) {
    const drained = await drainPosthorn(postgres.url, redisUrl, count);
    const { deliveriesPerSecond, ...facts } = drained;
    print({
      bench: 'deliver',
      repeat,
      system,
      perSecond: Math.round(deliveriesPerSecond),
      ratio: round(deliveriesPerSecond / bare),
      ...facts,
    });
  }
}
const rate = Number(values.rate);
const seconds = Number(values.seconds);
const embedded = await measureLatency({}, rate, seconds);
print({ bench: 'latency', system: 'Posthorn embedded', ...embedded });
