import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client } from 'pg';
import { loadConfig } from '../../src/config.ts';
import { createLogger } from '../../src/logger.ts';
import { startService } from '../../src/service.ts';
import { startEmbeddedPostgres } from '../../src/stack/embedded-postgres.ts';
import { readMigrations } from '../../src/stack/migrate.ts';
import { createProjectWithKey } from '../../src/store/projects.ts';
import { createApiClient, untilFound } from './e2e-client.ts';
import type { ApiClient } from './e2e-client.ts';
import { startReceiver } from './receiver.ts';
import { keptValue, releasedStatementsFile } from './released-statements.ts';
import type { ReleasedStatement } from './released-statements.ts';
import { testActor } from './test-actor.ts';

// Runs all of Posthorn in this process, does a little of everything, and keeps the SQL that it sent: released-statements.ts.

/** What is of our tables, and not of the queue's or of Prisma's transactions. */
const ours =
  /"?\b(projects|api_keys|webhooks|webhook_secrets|events|deliveries|attempts|event_types|recoveries|audit_entries|sweep_marks)\b/;

const seen: ReleasedStatement[] = [];
record(seen);

await using stack = new AsyncDisposableStack();
const dataFolder = await mkdtemp(path.join(tmpdir(), 'posthorn-release-'));
stack.defer(async () => await rm(dataFolder, { recursive: true, force: true }));
const postgres = stack.use(await startEmbeddedPostgres({ dataFolder }));
const config = loadConfig({
  PORT: '0',
  HOST: '127.0.0.1',
  DATABASE_URL: postgres.url,
  POSTHORN_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 7).toString('base64')}`,
  WEBHOOK_REQUIRE_HTTPS: 'false',
  WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8',
  WEBHOOK_RETRY_SCHEDULE: '0.2',
  WEBHOOK_MAX_RETRIES: '2',
  SWEEP_INTERVAL: '0.3',
  SWEEP_GRACE: '0.5',
});
const service = stack.use(
  await startService(config, { gateway: true, worker: true, migrate: true }, createLogger('warn')),
);
const { database, url } = service;
if (database === null || url === null) throw new Error('no gateway');
seen.length = 0;
const { key } = await createProjectWithKey(database, { name: 'Release', keyName: 'All', actor: testActor });
const client = createApiClient({ graphqlUrl: `${url}/graphql`, websocketUrl: '' }, key);
const receiver = stack.use(
  await startReceiver(({ headers }) => ({ status: headers['x-posthorn-event'] === 'release.failing' ? 500 : 200 })),
);
const webhookId = await run(
  client,
  `mutation { createWebhook(input: { name: "Released", url: "${receiver.url}", eventTypes: ["release.*"], headers: [{ name: "authorization", value: "x" }] }) { webhook { id } userErrors { message } } }`,
);
// What creating it sends; looking keys up and sweeping go on by themselves, and are no part of it.
const setup = seen.filter(({ text }) => /^\s*insert/i.test(text));
seen.length = 0;
await doEverything(client, webhookId);

const statements = [...Map.groupBy(seen, ({ text }) => text).values()].flatMap(([first]) => first ?? []);
const migrations = (await readMigrations()).map(({ name }) => name);
await writeFile(releasedStatementsFile, `${JSON.stringify({ migrations, setup, statements }, null, 2)}\n`);
process.stdout.write(`Kept ${setup.length} statements of the setup and ${statements.length} others.\n`);

/** Keeps every statement of our tables that any connection of this process sends. */
function record(into: ReleasedStatement[]): void {
  const { prototype } = Client;
  const original = prototype.query;
  const recording = function recording(this: Client, ...args: unknown[]): unknown {
    const [first, second] = args;
    const given = typeof first === 'object' && first !== null ? first : { text: first };
    const { name = null, text = '', values = second } = given as { name?: string; text?: string; values?: unknown };
    if (ours.test(text)) into.push({ name, text, values: Array.isArray(values) ? values.map(keptValue) : [] });
    return Reflect.apply(original, this, args);
  };
  Object.assign(prototype, { query: recording });
}

/** Runs an operation of one field, and gives the first id in its answer. Throws for any error. */
async function run(by: ApiClient, operation: string): Promise<string> {
  const { data, errors } = await by.ask(operation);
  const answer = JSON.stringify(data);
  if (errors.length > 0 || /"userErrors":\[\{/.test(answer))
    throw new Error(`${operation}: ${answer} ${JSON.stringify(errors)}`);
  return /"id":"([^"]+)"/.exec(answer)?.[1] ?? '';
}

async function emit(by: ApiClient, type: string, more = ''): Promise<string> {
  const fields = 'event { id deliveries(first: 1) { nodes { id } } } userErrors { message }';
  const { data } = await by.ask<{ emitEvent: { event: { deliveries: { nodes: { id: string }[] } } } }>(
    `mutation { emitEvent(input: { type: "${type}", data: { version: 1 } ${more} }) { ${fields} } }`,
  );
  const [delivery] = data?.emitEvent.event.deliveries.nodes ?? [];
  if (delivery === undefined) throw new Error(`no delivery of ${type}: ${JSON.stringify(data)}`);
  return delivery.id;
}

async function untilIs(by: ApiClient, id: string, status: string): Promise<void> {
  await untilFound(`${id} to be ${status}`, async () => {
    const { data } = await by.ask<{ delivery: { status: string } }>(
      `{ delivery(id: "${id}") { status event { type } webhook { name } attempts(first: 5) { nodes { number } } } }`,
    );
    return data?.delivery.status === status ? true : null;
  });
}

async function doEverything(by: ApiClient, webhook: string): Promise<void> {
  const problems = 'userErrors { message }';
  const delivered = await emit(by, 'release.good', ', idempotencyKey: "once"');
  await untilIs(by, delivered, 'DELIVERED');
  await emit(by, 'release.good', ', idempotencyKey: "once"');
  const failed = await emit(by, 'release.failing');
  await untilIs(by, failed, 'FAILED');
  await run(by, `mutation { resendDelivery(input: { id: "${failed}" }) { delivery { id } ${problems} } }`);
  await run(by, `mutation { pauseWebhook(input: { id: "${webhook}" }) { webhook { id } ${problems} } }`);
  const held = await emit(by, 'release.good');
  const cancelled = await emit(by, 'release.good');
  await run(by, `mutation { cancelDelivery(input: { id: "${cancelled}" }) { delivery { id } ${problems} } }`);
  await run(by, `mutation { resumeWebhook(input: { id: "${webhook}" }) { webhook { id } ${problems} } }`);
  await untilIs(by, held, 'DELIVERED');
  await untilIs(by, failed, 'FAILED');
  await run(by, `mutation { testWebhook(input: { id: "${webhook}" }) { delivery { id } ${problems} } }`);
  await run(by, `mutation { rotateWebhookSecret(input: { id: "${webhook}" }) { webhook { id } ${problems} } }`);
  await run(
    by,
    `mutation { updateWebhook(input: { id: "${webhook}", description: "x" }) { webhook { id } ${problems} } }`,
  );
  await run(
    by,
    `mutation { upsertEventType(input: { name: "release.good", schema: { type: "object" } }) { eventType { id } ${problems} } }`,
  );
  await untilIs(by, await emit(by, 'release.good'), 'DELIVERED');
  await run(
    by,
    `mutation { emitEvents(input: { events: [{ type: "release.good", data: {} }, { type: "release.good", data: {} }] }) { results { event { id } } ${problems} } }`,
  );
  const recovery = await run(
    by,
    `mutation { recoverDeliveries(input: { since: "2020-01-01T00:00:00Z", filter: { statuses: [FAILED, CANCELLED] } }) { recovery { id } ${problems} } }`,
  );
  await untilFound('the recovery', async () => {
    const { data } = await by.ask<{ recovery: { status: string } }>(`{ recovery(id: "${recovery}") { status } }`);
    return data?.recovery.status === 'COMPLETED' ? true : null;
  });
  for (const query of [
    '{ deliveries(first: 5, filter: { statuses: [FAILED] }) { nodes { id lastAttempt { number } } totalCount } }',
    '{ events(first: 5) { nodes { id } } webhooks(first: 5) { nodes { id status } } }',
    '{ deliveryStats { counts { total } attempts { failed } latency { p50Ms } series { start } } }',
    '{ apiKeys(first: 5) { nodes { id } } auditEntries(first: 5) { nodes { id } } eventTypes(first: 5) { nodes { id } } }',
  ]) {
    await run(by, query);
  }
  await run(by, `mutation { deleteWebhook(input: { id: "${webhook}" }) { ${problems} } }`);
}
