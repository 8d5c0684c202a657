import { createAdministration } from './administration.ts';
import { loadConfig } from './config.ts';
import { migrateQueue } from './queue-backend.ts';
import { startDeliveryQueue, type QueueConnection } from './queue.ts';
import { openMigratedDatabase } from './stack/database-in-use.ts';
import { openPipelines } from './store/pipelines.ts';
import { untilStopSignal } from './stop-signal.ts';
import { parseDays, parseLimit } from './upkeep-arguments.ts';
import { cleanupSentence, enqueuedSentence } from './upkeep-sentences.ts';
import type { Command } from 'commander';
import type { Administration } from '../schema/context.ts';
import type { Config } from './config.ts';

type Print = (text: string) => void;

/** What a command did, for a person and for a program. */
interface Report {
  sentence: string;
  facts: object;
  /** False when a signal stopped it before its end. */
  finished: boolean;
}

/** What a command works with. */
interface Upkeep {
  administration: Administration;
  /** Whether nobody else is at the database, so that what is enqueued waits for the next start. */
  alone: boolean;
  /** Aborts at SIGINT and SIGTERM. */
  signal: AbortSignal;
}

/** Adds `posthorn sweep|cleanup|retry-stuck`: upkeep by hand, beside whoever runs, with the code of the clock. */
export function addUpkeepCommands(program: Command, print: Print): void {
  program
    .command('sweep')
    .description('give deliveries that are due and that nobody took to the workers again')
    .option('--json', 'print one JSON object')
    .action(async ({ json }: { json?: true }) => {
      await report(loadConfig(process.env), json, print, sweepNow);
    });
  program
    .command('cleanup')
    .description('remove history that ended long ago; what has not ended stays')
    .option('--days <days>', 'how long ago, 1 to 3650; without it WEBHOOK_RETENTION_DAYS')
    .option('--json', 'print one JSON object')
    .action(async ({ days, json }: { days?: string; json?: true }) => {
      const config = loadConfig(process.env);
      const olderThanDays = parseDays(days, config.retentionDays);
      await report(config, json, print, async (upkeep) => await cleanUpNow(upkeep, olderThanDays));
    });
  program
    .command('retry-stuck')
    .description('give deliveries that a worker took and never recorded to the workers again')
    .option('--limit <count>', 'how many at most, 1 to 10000, the oldest first; without it 10000')
    .option('--json', 'print one JSON object')
    .action(async ({ limit, json }: { limit?: string; json?: true }) => {
      const most = parseLimit(limit);
      await report(loadConfig(process.env), json, print, async (upkeep) => await retryStuckNow(upkeep, most));
    });
}

async function sweepNow({ administration, alone, signal }: Upkeep): Promise<Report> {
  const enqueuedCount = await administration.sweep(signal);
  const finished = !signal.aborted;
  return {
    sentence: enqueuedSentence('overdue', { enqueuedCount, alone, finished }),
    facts: { enqueuedCount },
    finished,
  };
}

async function retryStuckNow({ administration, alone }: Upkeep, limit: number): Promise<Report> {
  const enqueuedCount = await administration.retryStuck(limit);
  const sentence = enqueuedSentence('stuck', { enqueuedCount, alone, finished: true });
  return { sentence, facts: { enqueuedCount }, finished: true };
}

async function cleanUpNow({ administration, signal }: Upkeep, days: number): Promise<Report> {
  const removed = await administration.cleanup(days, signal);
  return { sentence: cleanupSentence(days, removed), facts: { days, ...removed }, finished: removed.finished };
}

/** Does the work on what the settings name, prints what came of it, and ends with 1 when a signal stopped it. */
async function report(
  config: Config,
  json: true | undefined,
  print: Print,
  work: (upkeep: Upkeep) => Promise<Report>,
): Promise<void> {
  const stop = new AbortController();
  const onHanging = (waitedMs: number): void => print(`The work did not stop within ${waitedMs / 1000} s: given up.`);
  void untilStopSignal({ delayMs: 0, onHanging }).then(() => stop.abort());
  await using stack = new AsyncDisposableStack();
  const { url, ours } = stack.use(await openMigratedDatabase(config));
  const database = stack.use(openPipelines(url));
  const connection: QueueConnection =
    config.redis === null ? { kind: 'postgres', url } : { kind: 'redis', url: config.redis.durableUrl.reveal() };
  if (ours) await migrateQueue(connection);
  const queue = stack.use(await startDeliveryQueue(connection, { onError: () => undefined })); // its calls say it as well
  const administration = createAdministration(config, { database, queue });
  const { sentence, facts, finished } = await work({ administration, alone: ours, signal: stop.signal });
  print(json ? JSON.stringify(facts) : sentence);
  if (!finished) process.exitCode = 1;
}
