import { Command } from 'commander';
import { ConfigError, describeGiven, loadConfig } from './config.ts';
import { ensureDemoProject, writeDemoFacts } from './demo-project.ts';
import { runDemo } from './demo/demo.ts';
import { addKeysCommand } from './keys-command.ts';
import { runDoctor } from './doctor/doctor.ts';
import { createLogger } from './logger.ts';
import { migrateQueue } from './queue-backend.ts';
import { startService } from './service.ts';
import { migrate } from './stack/migrate.ts';
import { startStack } from './stack/stack.ts';
import { untilStopSignal } from './stop-signal.ts';
import { exitOnUnexpectedError } from './unexpected-error.ts';
import { addUpkeepCommands } from './upkeep-command.ts';
import { version } from './version.ts';
import { welcomeText } from './welcome.ts';
import type { Config } from './config.ts';
import type { Roles, Service } from './service.ts';

// The command line and the composition root: the only place that knows every part. A command that fails prints one clear
// sentence and exits with 1; what it had started is stopped again.

const program = new Command('posthorn')
  .description('A GraphQL gateway for outgoing webhooks with a live delivery feed')
  .version(version);

program
  .command('start')
  .description('run everything in one process; without DATABASE_URL on an embedded PostgreSQL')
  .action(async () => await serve({ gateway: true, worker: true, migrate: true }, welcome));
program
  .command('gateway')
  .description('run the GraphQL gateway alone')
  .action(async () => await serveAlone('gateway', { gateway: true, worker: false, migrate: false }));
program
  .command('worker')
  .description('run a delivery worker alone')
  .action(async () => await serveAlone('worker', { gateway: false, worker: true, migrate: false }));
program
  .command('migrate')
  .description('bring the database up to date, and exit')
  .action(async () => {
    await using stack = await startStack(loadConfig(process.env));
    const applied = await migrate(stack.databaseUrl);
    await migrateQueue(stack.queueConnection);
    print(applied.length === 0 ? 'The database is up to date.' : `Applied: ${applied.join(', ')}.`);
  });
program
  .command('demo')
  .description('register a webhook to a built-in receiver, emit events, and print the live feed')
  .action(async () => await runDemo(loadConfig(process.env), print));

addKeysCommand(program, print);
addUpkeepCommands(program, print);
program
  .command('doctor')
  .description('check the settings and every server they name, and say what to do; ends with 1 when something failed')
  .option('--json', 'print one JSON object')
  .action(async ({ json = false }: { json?: boolean }) => {
    if (!(await runDoctor(process.env, json, print))) process.exitCode = 1;
  });

// Whoever read what is printed may have gone, as `head` does: the process serves on.
for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreClosedPipe);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`posthorn: ${sentenceOf(error)}\n`);
  process.exitCode = 1;
}

/** Runs one part of Posthorn, on servers that it shares with the others. */
async function serveAlone(command: string, roles: Roles): Promise<void> {
  if (loadConfig(process.env).redis === null) {
    throw new ConfigError([
      `\`posthorn ${command}\` needs DATABASE_URL, REDIS_URI_DURABLE and REDIS_URI_VOLATILE, which it shares with the other processes; without them run \`posthorn start\`, which is everything in one process.`,
    ]);
  }
  await serve(roles, sayReady);
}

/** Runs the roles until a signal asks to stop, and ends the process. */
async function serve(roles: Roles, ready: (config: Config, service: Service) => Promise<void>): Promise<never> {
  await serveUntilStopped(roles, ready);
  // All that is ours has ended. What is left are BullMQ's tries to reach a Redis that is away, which nothing stops.
  process.exit();
}

async function serveUntilStopped(
  roles: Roles,
  ready: (config: Config, service: Service) => Promise<void>,
): Promise<void> {
  const config = loadConfig(process.env);
  const logger = createLogger(config.logLevel);
  exitOnUnexpectedError(logger);
  const stopSignal = untilStopSignal({
    delayMs: config.stopDelayMs,
    onHanging: (waitedMs) =>
      logger.fatal(`the stop has not ended within ${waitedMs} ms: what is under way is given up`),
  });
  await using service = await startService(config, roles, logger);
  logger.info(describeGiven(process.env), 'settings');
  await ready(config, service);
  await stopSignal;
  logger.info('stopping');
}

/** Prints what a newcomer needs, and keeps it in `demo.json` for scripts. */
async function welcome(config: Config, service: Service): Promise<void> {
  const { database, url } = service;
  if (database === null || url === null) throw new Error('start runs without a gateway');
  const facts = {
    ...(await ensureDemoProject(database, config.dataFolder)),
    graphqlUrl: `${url}/graphql`,
    websocketUrl: `${url.replace(/^http/, 'ws')}/graphql`,
  };
  await writeDemoFacts(config.dataFolder, facts);
  print(welcomeText(facts, config));
}

async function sayReady(_config: Config, service: Service): Promise<void> {
  if (service.url !== null) return print(`Posthorn is ready on ${service.url}.`);
  const { operationsUrl } = service;
  print(operationsUrl === null ? 'Posthorn is ready.' : `Posthorn is ready, and tells how it is on ${operationsUrl}.`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

/** The error as a person should read it: what was wrong, without a stack. */
function sentenceOf(error: unknown): string {
  if (error instanceof ConfigError) return error.message;
  return error instanceof Error ? error.message : String(error);
}
