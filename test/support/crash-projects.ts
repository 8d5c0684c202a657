import { EmitEventDocument } from '../generated/graphql.ts';
import { idFromUuid, parseId, uuidOf } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import type { Database } from '../../src/store/database.ts';
import { createProject } from '../../src/store/projects.ts';
import { createWebhook } from './e2e-calls.ts';
import { createApiClient, untilFound } from './e2e-client.ts';
import type { ApiClient, Endpoint } from './e2e-client.ts';
import { testActor } from './test-actor.ts';

// What a proof by crashes needs that the API does not give: several projects, and the attempts as the database has them.

const answerLimitMs = 60_000;

/** A project whose webhooks all get the same events. */
export interface CrashProject extends AsyncDisposable {
  client: ApiClient;
  webhookIds: string[];
  eventType: string;
}

/** Makes a project with a webhook for each of the URLs. */
export async function createCrashProject(
  database: Database,
  endpoint: Endpoint,
  name: string,
  urls: readonly string[],
): Promise<CrashProject> {
  const projectId = idFromUuid('project', (await createProject(database, name)).id);
  const { key } = await createApiKey(database, projectId, { name, permissions, expiresAt: null }, testActor);
  const client = createApiClient(endpoint, key);
  const made = await Promise.all(
    urls.map(async (url) => await createWebhook(client, name, { url, signatureStyle: 'TIMESTAMPED_HEX' })),
  );
  return {
    client,
    webhookIds: made.map(({ webhook }) => webhook.id),
    eventType: made[0]?.eventType ?? '',
    [Symbol.asyncDispose]: async () => await client[Symbol.asyncDispose](),
  };
}

/**
 * Emits an event and gives the ids of its deliveries. While the gateway is away it asks again; its answer may have been
 * lost after the event was stored, so that the call has a key which makes repeating it harmless.
 */
export async function emitThroughCrashes(project: CrashProject, number: number): Promise<string[]> {
  const input = { type: project.eventType, data: { number }, idempotencyKey: `event-${number}` };
  return await untilFound(
    `event ${number} to be stored`,
    async () => {
      const answer = await project.client.run(EmitEventDocument, { input }).catch(ignoreGatewayAway);
      if (answer === null) return null;
      const { event, userErrors } = answer.emitEvent;
      if (!event) throw new Error(`event ${number} was not stored: ${JSON.stringify(userErrors)}`);
      return event.deliveries.nodes.map(({ id }) => id);
    },
    answerLimitMs,
  );
}

/** Null for what `fetch` throws when there is no connection, or one that breaks; throws anything else. */
function ignoreGatewayAway(error: unknown): null {
  if (error instanceof TypeError) return null;
  throw error;
}

/** The one name of an attempt, whoever speaks of it. */
export function attemptName(deliveryId: string, attemptNumber: number): string {
  return `${deliveryId} ${attemptNumber}`;
}

/** The names of the attempts that are recorded, of all deliveries or of those; one that is recorded twice comes twice. */
export async function listAttempts(database: Database, deliveryIds?: Iterable<string>): Promise<string[]> {
  const uuids = deliveryIds === undefined ? null : [...deliveryIds].map((id) => uuidOf(parseId('delivery', id)));
  const { rows } = await database.pipeline.query<{ delivery_id: string; number: number }>({
    text: 'select delivery_id, number from attempts where $1::uuid[] is null or delivery_id = any($1::uuid[])',
    values: [uuids],
  });
  return rows.map((row) => attemptName(idFromUuid('delivery', row.delivery_id), row.number));
}

/** How many deliveries say that they had another number of attempts than are recorded of them. */
export async function countMiscounted(database: Database): Promise<number> {
  const { rows } = await database.pipeline.query<{ count: number }>(
    `select count(*)::int as count
     from deliveries d left join (select delivery_id, count(*) from attempts group by delivery_id) a on a.delivery_id = d.id
     where d.attempt_count <> coalesce(a.count, 0)`,
  );
  return rows[0]?.count ?? Number.NaN;
}
