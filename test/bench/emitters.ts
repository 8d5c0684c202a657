import { randomUUID } from 'node:crypto';
import { setImmediate as turnEnd } from 'node:timers/promises';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { Pool } from 'pg';
import { Agent, request } from 'undici';
import { coalesce } from '../../src/coalesce.ts';
import { parseId } from '../../src/domain/ids.ts';
import { deliveriesPerJobMax, startDeliveryQueue } from '../../src/queue.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { bareQueueName } from './bare-job.ts';
import { enqueueDeliveries } from './enqueue.ts';
import type { BareJob } from './bare-job.ts';

/** Emits one event and gives how many deliveries were accepted for it. */
export type Emit = (type: string, data: object) => Promise<number>;

/** What an emitter emits to; `''` where its kind has no use for it. */
export interface EmitterTarget {
  kind: 'posthorn' | 'graphql' | 'graphql-bulk' | 'bare' | 'sql-together' | 'sql-each';
  databaseUrl: string;
  redisUrl: string;
  projectId: string;
  graphqlUrl: string;
  apiKey: string;
}

/** Opens what emits: the store's emitter and the queue, as a gateway has them; GraphQL over HTTP; or what these stand on, bare. */
export async function openEmitter(target: EmitterTarget): Promise<Emit> {
  if (target.kind === 'bare') return openBare(target);
  if (target.kind === 'graphql') return openGraphql(target);
  if (target.kind === 'graphql-bulk') return openBulkGraphql(target);
  if (target.kind === 'posthorn') return await openPosthorn(target);
  return openSql(target, target.kind === 'sql-together');
}

async function openPosthorn({ databaseUrl, redisUrl, projectId: project }: EmitterTarget): Promise<Emit> {
  const database = openDatabase(databaseUrl);
  const emitEvent = createEmitter(database, { maxAttempts: 6 });
  const queue = await startDeliveryQueue(
    redisUrl === '' ? { kind: 'postgres', url: databaseUrl } : { kind: 'redis', url: redisUrl },
    { onError: fail },
  );
  const projectId = parseId('project', project);
  return async (type, data) => {
    const occurredAt = new Date();
    const input = { projectId, type, data, occurredAt, idempotencyKey: null, deliverAt: null, testWebhookId: null };
    const result = await emitEvent(input);
    if (result.kind !== 'stored') throw new Error(`an event without an idempotency key was a ${result.kind}`);
    await enqueueDeliveries(queue, result.deliveries);
    return result.deliveries.length;
  };
}

/** What one `emitEvents` takes. */
const eventsPerCallMax = 1_000;

const emitMutation = `
mutation Emit($type: String!, $data: JSON!) {
  emitEvent(input: { type: $type, data: $data }) { deliveryCount userErrors { message } }
}`;

function openGraphql(target: EmitterTarget): Emit {
  const ask = openGraphqlClient<{ emitEvent: EmitAnswer }>(target);
  return async (type, data) => countOf((await ask(emitMutation, { type, data })).emitEvent);
}

const bulkMutation = `
mutation EmitAll($events: [EmitEventItem!]!) {
  emitEvents(input: { events: $events }) { results { deliveryCount userErrors { message } } }
}`;

/** What is emitted at once goes into one `emitEvents`. */
function openBulkGraphql(target: EmitterTarget): Emit {
  const ask = openGraphqlClient<{ emitEvents: { results: EmitAnswer[] } }>(target);
  const emitTogether = coalesce(
    async (events: { type: string; data: object }[]) => (await ask(bulkMutation, { events })).emitEvents.results,
    eventsPerCallMax,
  );
  return async (type, data) => countOf(await emitTogether({ type, data }));
}

interface EmitAnswer {
  deliveryCount: number | null;
}

function countOf(answer: EmitAnswer): number {
  if (answer.deliveryCount === null) throw new Error(`an event was not stored: ${JSON.stringify(answer)}`);
  return answer.deliveryCount;
}

function openGraphqlClient<Data>({
  graphqlUrl,
  apiKey,
}: EmitterTarget): (query: string, variables: object) => Promise<Data> {
  const dispatcher = new Agent({ connections: 64, pipelining: 1 });
  return async (query, variables) => {
    const { body, statusCode } = await request(graphqlUrl, {
      dispatcher,
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
      body: JSON.stringify({ query, variables }),
    });
    const answer = (await body.json()) as { data?: Data | null };
    if (statusCode === 200 && answer.data != null) return answer.data;
    throw new Error(`the gateway answered ${statusCode}: ${JSON.stringify(answer)}`);
  };
}

function openBare({ redisUrl }: EmitterTarget): Emit {
  const queue = new Queue<BareJob>(bareQueueName, { connection: new Redis(redisUrl) });
  return async (type, data) => {
    const id = randomUUID();
    const body = JSON.stringify({ id, type, timestamp: new Date().toISOString(), projectId: 'none', data });
    await queue.add('deliver', { id, path: type, body }, { removeOnComplete: true });
    return 1;
  };
}

// What an emit comes to without Posthorn: a row each of the same tables, and jobs of as many ids as ours carry.
const insertSql = `
with stored as (
  insert into events (id, project_id, type, body, occurred_at)
  select e.id, $1, 'bench.event', e.body::json, now() from unnest($2::uuid[], $4::text[]) as e(id, body)
)
insert into deliveries (id, project_id, event_id, webhook_id, max_attempts)
select d.id, $1, d.event_id, $5, 6 from unnest($3::uuid[], $2::uuid[]) as d(id, event_id)`;
const connectionsMax = 16;

/** Inserts with one prepared statement per event, or for all events of the same turn of the event loop. */
function openSql({ databaseUrl, redisUrl }: EmitterTarget, together: boolean): Emit {
  const pool = new Pool({ connectionString: databaseUrl, max: connectionsMax });
  const queue = new Queue(bareQueueName, { connection: new Redis(redisUrl) });
  const [project, webhook] = [newUuid(), newUuid()];
  const insert = async (bodies: readonly string[]): Promise<void> => {
    const ids = bodies.map(() => newUuid());
    const values = [project, bodies.map(() => newUuid()), ids, bodies, webhook];
    await pool.query({ name: 'insert', text: insertSql, values });
    const jobCount = Math.ceil(ids.length / deliveriesPerJobMax);
    const jobs = Array.from({ length: jobCount }, (_, index) => ({
      name: 'deliver',
      data: { ids: ids.slice(index * deliveriesPerJobMax, (index + 1) * deliveriesPerJobMax) },
    }));
    await (jobs.length === 1 ? queue.add('deliver', jobs[0]?.data) : queue.addBulk(jobs));
  };
  const send = together ? inOneTurn(insert) : async (body: string) => await insert([body]);
  return async (type, data) => {
    await send(
      JSON.stringify({ id: randomUUID(), type, timestamp: new Date().toISOString(), projectId: project, data }),
    );
    return 1;
  };
}

/** Hands over together what is handed over in one turn of the event loop. */
function inOneTurn(insert: (bodies: readonly string[]) => Promise<void>): (body: string) => Promise<void> {
  let waiting: string[] = [];
  let next = Promise.resolve();
  const insertWaiting = async (): Promise<void> => {
    await turnEnd();
    const bodies = waiting;
    waiting = [];
    await insert(bodies);
  };
  return async (body) => {
    if (waiting.push(body) === 1) next = insertWaiting();
    await next;
  };
}

function fail(error: unknown): void {
  throw error;
}
