import { randomBytes } from 'node:crypto';
import type { DeliveryStatus, DueDelivery } from '../../src/domain/delivery.ts';
import { type DeliveryId, idFromUuid, type ProjectId, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { type Database, openDatabase } from '../../src/store/database.ts';
import { type ClaimDelivery, createClaimer } from '../../src/store/claim-deliveries.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { createProject } from '../../src/store/projects.ts';
import { createSecretBox, type SecretBox } from '../../src/store/secret-box.ts';
import { WebhookCache } from '../../src/store/webhook-settings.ts';
import { createWebhook, type WebhookInput } from '../../src/store/webhooks.ts';
import { createTestDatabase } from './postgres.ts';
import { testActor } from './test-actor.ts';

/** An open test database with two projects: one to work in, and a stranger's. */
export interface StoreFixture extends AsyncDisposable {
  db: Database;
  secretBox: SecretBox;
  projectId: ProjectId;
  strangerId: ProjectId;
}

/** Columns of a delivery that a test cares about; the others are as an emit leaves them. */
export interface DeliveryColumns {
  status?: DeliveryStatus;
  attemptCount?: number;
  dueAt?: Date | null;
  claimedAt?: Date | null;
  held?: boolean;
  failureReason?: string | null;
  finishedAt?: Date | null;
}

export async function openStoreFixture(): Promise<StoreFixture> {
  await using stack = new AsyncDisposableStack();
  const database = stack.use(await createTestDatabase());
  const db = stack.use(openDatabase(database.url));
  const secretBox = createSecretBox([{ id: 'test', key: randomBytes(32) }]);
  const projectId = await addProject(db, 'Ours');
  const strangerId = await addProject(db, 'A stranger');
  const owned = stack.move();
  return { db, secretBox, projectId, strangerId, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

async function addProject(db: Database, name: string): Promise<ProjectId> {
  return idFromUuid('project', (await createProject(db, name)).id);
}

/** A webhook as somebody creates it who fills in only what is needed. */
export const plainWebhook: WebhookInput = {
  name: 'Deploys',
  description: null,
  url: 'https://example.com/hook',
  eventTypes: ['*'],
  headers: [],
  signatureStyle: 'STANDARD_WEBHOOKS',
  signAsymmetrically: false,
  maxAttempts: null,
  retrySchedule: [],
  rateLimitPerSecond: null,
};

/** Creates a webhook in the fixture's project. */
export async function addWebhook(fixture: StoreFixture, input: Partial<WebhookInput> = {}): Promise<WebhookId> {
  const { db, secretBox, projectId } = fixture;
  const { webhook } = await createWebhook(db, secretBox, projectId, { ...plainWebhook, ...input, actor: testActor });
  return idFromUuid('webhook', webhook.id);
}

/** Stores deliveries of one new event each, all alike, and gives their ids in order. */
export async function addDeliveries(
  fixture: StoreFixture,
  webhookId: WebhookId,
  count: number,
  columns: DeliveryColumns = {},
): Promise<DeliveryId[]> {
  const deliveries = Array.from({ length: count }, () => ({ id: newUuid(), eventId: newUuid(), ...columns }));
  await fixture.db.pipeline.query(
    `with stored as (
      insert into events (id, project_id, type, body, occurred_at)
      select "eventId", $1, 'config.deployed', '{}', now() from json_to_recordset($3) as d("eventId" uuid)
    )
    insert into deliveries (id, project_id, event_id, webhook_id, max_attempts, status, attempt_count, due_at, claimed_at,
      held, failure_reason, finished_at)
    select id, $1, "eventId", $2, 6, coalesce(status, 'PENDING')::delivery_status, coalesce("attemptCount", 0), "dueAt",
      "claimedAt", coalesce(held, false), "failureReason", "finishedAt"
    from json_to_recordset($3) as d(id uuid, "eventId" uuid, status text, "attemptCount" int, "dueAt" timestamptz,
      "claimedAt" timestamptz, held boolean, "failureReason" text, "finishedAt" timestamptz)`,
    [uuidOf(fixture.projectId), uuidOf(webhookId), JSON.stringify(deliveries)],
  );
  return deliveries.map((delivery) => idFromUuid('delivery', delivery.id));
}

/** Stores one delivery of a new event. */
export async function addDelivery(
  fixture: StoreFixture,
  webhookId: WebhookId,
  columns: DeliveryColumns = {},
): Promise<DeliveryId> {
  const [id] = await addDeliveries(fixture, webhookId, 1, columns);
  if (id === undefined) throw new Error('no delivery was stored');
  return id;
}

/** The ids in hints, in their order. */
export function idsOf(due: readonly DueDelivery[]): DeliveryId[] {
  return due.map(({ id }) => id);
}

/** The claim of one worker. */
export function createTestClaimer(
  { db, secretBox }: StoreFixture,
  { retryScheduleSeconds, claimLeaseMs }: { retryScheduleSeconds: readonly number[]; claimLeaseMs: number },
): ClaimDelivery {
  return createClaimer(db, new WebhookCache(db, secretBox, { retryScheduleSeconds }), claimLeaseMs);
}

/** The delivery's row as it is. */
export async function readDelivery(fixture: StoreFixture, id: DeliveryId) {
  return await fixture.db.prisma.delivery.findUniqueOrThrow({ where: { id: uuidOf(id) } });
}
