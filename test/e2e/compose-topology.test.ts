import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { interpolate, readComposeFile } from '../support/compose-file.ts';
import type { ComposeFile, ComposeService } from '../support/compose-file.ts';
import { createEmptyDatabase } from '../support/postgres.ts';
import { startReceiver } from '../support/receiver.ts';
import { findSteadyPort } from '../support/steady-port.ts';
import { startTestRedis } from '../support/redis.ts';

// The topology of docker-compose.yml without Docker: its commands, variables and health checks as they stand there, with the
// hosts and ports of this machine in the place of its own.

const readyLimitMs = 60_000;

let compose: ComposeFile;
let owned: AsyncDisposableStack;
/** The hosts of the file, as in `postgres:5432`, and where they are here. */
let places: Map<string, string>;
let databaseUrl: string;
const variables = {
  POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
  // The receiver is in a network of our own.
  WEBHOOK_REQUIRE_HTTPS: 'false',
  WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8',
};

/** A container of a service, as a process. */
interface Container extends AsyncDisposable {
  ports: ReadonlyMap<string, string>;
  output: () => string;
  ended: Promise<number | null>;
}

beforeAll(async () => {
  owned = new AsyncDisposableStack();
  compose = await readComposeFile();
  const database = owned.use(await createEmptyDatabase());
  databaseUrl = database.url;
  places = new Map();
  for (const name of ['redis-durable', 'redis-volatile']) {
    const redis = owned.use(await startTestRedis({ settings: redisSettings(serviceOf(name).command ?? []) }));
    places.set(`${name}:6379`, `127.0.0.1:${redis.port}`);
  }
});

afterAll(async () => await owned.disposeAsync());

function serviceOf(name: string): ComposeService {
  const service = compose.services[name];
  if (service === undefined) throw new Error(`no service ${name}`);
  return service;
}

/** `redis-server --name value …` as settings. */
function redisSettings([program, ...words]: string[]): Record<string, string> {
  expect(program).toBe('redis-server');
  const pairs = words.flatMap((word, place) =>
    word.startsWith('--') ? [[word.slice(2), words[place + 1] ?? ''] as const] : [],
  );
  return Object.fromEntries(pairs);
}

/** The service's environment here, and what became of the ports that it names. */
async function environmentOf(
  service: ComposeService,
): Promise<{ env: Record<string, string>; ports: Map<string, string> }> {
  const env: Record<string, string> = {};
  const ports = new Map<string, string>();
  for (const [name, given] of Object.entries(service.environment ?? {})) {
    let value = interpolate(given, variables);
    for (const [place, here] of places) value = value.replace(place, here);
    if (name === 'DATABASE_URL') {
      expect(value).toMatch(/@postgres:5432\/posthorn$/);
      value = databaseUrl;
    }
    if (name.endsWith('PORT')) {
      ports.set(value, String(await findSteadyPort()));
      value = ports.get(value) ?? '';
    }
    env[name] = value;
  }
  return { env, ports };
}

/** The image's entry point, of which `node` is the one that runs this. */
function entrypoint(): string[] {
  const [, words = '[]'] = /^ENTRYPOINT (.*)$/m.exec(serviceOf('gateway').build?.dockerfile_inline ?? '') ?? [];
  const [program, ...args] = JSON.parse(words) as string[];
  expect(program).toBe('node');
  return args;
}

async function run(name: string, command = serviceOf(name).command ?? []): Promise<Container> {
  const { env, ports } = await environmentOf(serviceOf(name));
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [...entrypoint(), ...command], {
    env: { PATH, HOME, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const ended = once(child, 'close').then(([code]) => (typeof code === 'number' ? code : null));
  return {
    ports,
    output: () => output,
    ended,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Whether the service's health check passes for the container, as Docker would find by running it there. */
async function isHealthy(name: string, { ports }: Container): Promise<boolean> {
  const [kind, program, ...args] = serviceOf(name).healthcheck?.test ?? [];
  expect([kind, program]).toEqual(['CMD', 'node']);
  const here = args.map((arg) =>
    [...ports].reduce((text, [port, mine]) => text.replaceAll(`:${port}/`, `:${mine}/`), arg),
  );
  return await promisify(execFile)(process.execPath, here).then(
    () => true,
    () => false,
  );
}

async function untilUp(name: string, container: Container): Promise<void> {
  await untilFound(
    `${name} to be up: ${container.output()}`,
    async () => {
      const isUp =
        serviceOf(name).healthcheck === undefined
          ? container.output().includes('Posthorn is ready')
          : await isHealthy(name, container);
      return isUp ? true : null;
    },
    readyLimitMs,
  );
}

test('the commands, variables and health checks of docker-compose.yml make a deployment that delivers', async () => {
  const migrated = await run('migrate');
  expect({ code: await migrated.ended, output: migrated.output() }).toMatchObject({ code: 0 });
  await using running = new AsyncDisposableStack();
  const names = ['gateway', 'gateway', 'worker', 'worker', 'worker'];
  const containers = await Promise.all(names.map(async (name) => running.use(await run(name))));
  const [first, second] = containers;
  if (first === undefined || second === undefined) throw new Error('no gateways');
  await Promise.all(containers.map(async (container, place) => await untilUp(names[place] ?? '', container)));

  // As the file's first lines tell.
  const made = await run('gateway', ['keys', 'create', '--new-project', 'First', '--name', 'First', '--json']);
  expect(await made.ended).toBe(0);
  const { key } = JSON.parse(made.output()) as { key: string };
  await using receiver = await startReceiver();
  const endpoints = [first, second].map(({ ports }) => {
    const [port = ''] = ports.values();
    return { graphqlUrl: `http://127.0.0.1:${port}/graphql`, websocketUrl: `ws://127.0.0.1:${port}/graphql` };
  });
  for (const [place, endpoint] of endpoints.entries()) {
    await using client = createApiClient(endpoint, key);
    const { eventType } = await createWebhook(client, `Composed ${place}`, { url: receiver.url });
    await untilStatus(client, await emitOne(client, eventType), 'DELIVERED');
  }
  const doctor = await run('gateway', ['doctor', '--json']);
  expect(await doctor.ended).toBe(0);
  const { findings } = JSON.parse(doctor.output()) as { findings: { check: string; status: string }[] };
  expect(findings.filter(({ status }) => status !== 'ok')).toEqual([]);

  const stopped = first[Symbol.asyncDispose]();
  await untilFound('the gateway not to be healthy', async () => ((await isHealthy('gateway', first)) ? null : true));
  await stopped;
  await running.disposeAsync();
  expect(await Promise.all(containers.map(async ({ ended }) => await ended))).toEqual([0, 0, 0, 0, 0]);
}, 240_000);
