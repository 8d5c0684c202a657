import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createWebhook, emit, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { Answer, ApiClient } from '../support/e2e-client.ts';
import { deployTwoProjects } from '../support/e2e-stack.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { Receiver } from '../support/receiver.ts';
import { CreateApiKeyDocument, DeliveryFeedDocument } from '../generated/graphql.ts';
import type { Permission } from '../generated/graphql.ts';

// Real processes of each deployment, over every transport: some operations of every kind are tried on what one project has
// with the key of another, with a key that lacks the permission, and without a key. That all of them are, with every id and
// every permission, is what test/integration/tenant-matrix.test.ts shows.

/** What the first project has, by id. */
const ownedIds = z.object({
  project: z.string(),
  webhook: z.string(),
  event: z.string(),
  delivery: z.string(),
  attempt: z.string(),
  apiKey: z.string(),
  cursor: z.string(),
});
type Belongings = z.infer<typeof ownedIds>;

/** What a stranger must get. */
type Expected = 'NOT_FOUND' | 'FORBIDDEN' | 'user error' | 'nothing' | 'own';

interface Trial {
  document: string;
  needs: Permission | 'ADMINISTRATOR';
  /** `own`: the field names nothing of the first project, and gives or makes only what is the asking one's. */
  stranger: Expected;
}

const view = { needs: 'VIEW_WEBHOOKS' } as const;
const manage = { needs: 'MANAGE_WEBHOOKS', stranger: 'user error' } as const;
const administrate = { needs: 'ADMINISTRATOR', stranger: 'FORBIDDEN' } as const;
const userErrors = 'userErrors { code field }';

/** `$webhook` and the like are the first project's. */
const trials: Record<string, Trial> = {
  'Query.nodes': {
    ...view,
    stranger: 'nothing',
    document: '{ nodes(ids: [$project, $webhook, $event, $delivery, $attempt, $apiKey]) { id } }',
  },
  'Query.deliveryStats': {
    ...view,
    stranger: 'NOT_FOUND',
    document: '{ deliveryStats(webhookIds: [$webhook]) { counts { total } } }',
  },
  'Query.webhook': { ...view, stranger: 'NOT_FOUND', document: '{ webhook(id: $webhook) { id } }' },
  'Query.deliveries': {
    ...view,
    stranger: 'own',
    document: '{ deliveries { nodes { id } edges { node { id } } totalCount } }',
  },
  'Mutation.updateWebhook': {
    ...manage,
    document: `mutation { updateWebhook(input: { id: $webhook, name: "Taken over" }) { webhook { id } ${userErrors} } }`,
  },
  'Mutation.resendDelivery': {
    ...manage,
    document: `mutation { resendDelivery(input: { id: $delivery }) { delivery { id } ${userErrors} } }`,
  },
  'Mutation.emitEvent': {
    needs: 'EMIT_EVENTS',
    stranger: 'own',
    document:
      'mutation { emitEvent(input: { type: "test.owned" }) { event { id } deliveryCount userErrors { code } } }',
  },
  'Mutation.createProject': {
    ...administrate,
    document: 'mutation { createProject(input: { name: "Mine" }) { key userErrors { code } } }',
  },
  'Subscription.deliveryStatsTicked': {
    ...view,
    stranger: 'NOT_FOUND',
    document: 'subscription { deliveryStatsTicked(webhookIds: [$webhook], everySeconds: 1) { at complete } }',
  },
  'Subscription.deliveryFeed': {
    ...view,
    stranger: 'NOT_FOUND',
    document: 'subscription { deliveryFeed(filter: { webhookIds: [$webhook] }, after: $cursor) { cursor } }',
  },
  'Subscription.deliveryUpdated': {
    ...view,
    stranger: 'NOT_FOUND',
    document: 'subscription { deliveryUpdated(id: $delivery) { id } }',
  },
};

const fields = Object.entries(trials).map(([field, trial]) => Object.assign(trial, { field }));
const permissions = ['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS', 'EMIT_EVENTS'] as const;

/** The document with the ids written into it, as a client of any other kind might. */
function fill(document: string, ids: Belongings): string {
  return document.replaceAll(/\$(\w+)/g, (_, name: string) => JSON.stringify(ids[name as keyof Belongings]));
}

/** The operation's answer on every transport that can carry it; a subscription's is its first. */
async function askEverywhere(client: ApiClient, document: string): Promise<Answer[]> {
  if (!document.startsWith('subscription')) {
    return [await client.ask(document), await client.askOverWebsocket(document)];
  }
  using stream = client.watchOverSse(document);
  const answers = [await stream.nextAnswer(), await client.askOverWebsocket(document)];
  return answers.map((answer) => answer ?? { data: null, errors: [] });
}

/** What may not change whatever a stranger does. */
const snapshot = `query ($webhook: ID!, $delivery: ID!) {
  webhook(id: $webhook) { name url status updatedAt secrets { id } deliveries { totalCount } }
  delivery(id: $delivery) { status attemptCount }
  webhooks { totalCount }
}`;

/** Makes one of everything. */
async function own(client: ApiClient, project: string, url: string): Promise<Belongings> {
  const { webhook, eventType } = await createWebhook(client, 'Owned', { url });
  using feed = await watchFeed(client, [webhook.id]);
  const { eventId, deliveryIds } = await emit(client, eventType);
  const [created] = await feed.until(({ change }) => change === 'DELIVERED');
  const { attempts, id } = await untilStatus(client, deliveryIds[0] ?? '', 'DELIVERED');
  const input = { name: 'Owned', permissions: ['VIEW_WEBHOOKS' as const] };
  const { createApiKey } = await client.run(CreateApiKeyDocument, { input });
  const [attempt] = attempts.nodes;
  const ids = { webhook: webhook.id, event: eventId, delivery: id, cursor: created?.cursor };
  return ownedIds.parse({ ...ids, project, attempt: attempt?.id, apiKey: createApiKey.apiKey?.id });
}

/** Which of the expectations an answer meets; anything else in full. */
function meaningOf(answer: Answer, ids: Belongings): string {
  const { data, errors } = answer;
  const text = JSON.stringify(data);
  if (Object.values(ids).some((id) => text.includes(id))) return `a leak: ${text}`;
  if (errors.length > 0) return refusalOf(answer);
  const values = Object.values(data ?? {});
  const payload = payloadOf(values);
  if (payload !== null && isNotFound(payload.userErrors) && isEmpty(payload.rest)) return 'user error';
  return isEmpty(values) ? 'nothing' : 'own';
}

/** The one error code of an answer that gave no data; anything else in full. */
function refusalOf(answer: Answer): string {
  const codes = codesOf(answer);
  return codes.length === 1 && isEmpty(Object.values(answer.data ?? {})) ? String(codes[0]) : JSON.stringify(answer);
}

const mutationPayload = z.looseObject({ userErrors: z.array(z.unknown()) });

function payloadOf([value]: unknown[]): { userErrors: unknown[]; rest: unknown[] } | null {
  const payload = mutationPayload.safeParse(value);
  if (!payload.success) return null;
  const { userErrors: given, ...rest } = payload.data;
  return { userErrors: given, rest: Object.values(rest) };
}

function isNotFound(given: unknown[]): boolean {
  return JSON.stringify(given) === '[{"code":"NOT_FOUND","field":["input","id"]}]';
}

function isEmpty(values: unknown[]): boolean {
  return values.flat().every((value) => value === null);
}

function codesOf({ errors }: Answer): unknown[] {
  return [...new Set(errors.map(({ code }) => code))];
}

describe.each(['embedded', 'redis'] as const)('projects on one Posthorn (%s)', (kind) => {
  let posthorn: RunningPosthorn;
  let receiver: Receiver;
  let owner: ApiClient;
  let stranger: ApiClient;
  let ids: Belongings;

  beforeAll(async () => {
    const deployed = await deployTwoProjects(kind);
    posthorn = deployed;
    receiver = await startReceiver();
    owner = createApiClient(posthorn, posthorn.apiKey);
    stranger = createApiClient(posthorn, deployed.stranger.apiKey);
    ids = await own(owner, posthorn.projectId, receiver.url);
  });

  afterAll(async () => {
    await Promise.all([owner, stranger].map(async (client) => await client[Symbol.asyncDispose]()));
    await receiver[Symbol.asyncDispose]();
    await posthorn[Symbol.asyncDispose]();
  });

  /** A client of the first project whose key has only these permissions. */
  async function limitedClient(granted: Permission[]): Promise<ApiClient> {
    const { createApiKey } = await owner.run(CreateApiKeyDocument, {
      input: { name: 'Limited', permissions: granted },
    });
    return createApiClient(posthorn, createApiKey.key ?? '');
  }

  const seen = fields.filter(({ field }) => !field.startsWith('Mutation'));

  test.each(seen)('$field shows a project what it has', async ({ document }) => {
    for (const { data, errors } of await askEverywhere(owner, fill(document, ids))) {
      expect(errors).toEqual([]);
      expect(JSON.stringify(data)).toMatch(/"(prj|wh|evt|dlv|key)_|"cursor":"|"total":[1-9]|"complete":true/);
    }
  });

  test.each(fields)('$field gives nothing to another project', async ({ document, stranger: expected }) => {
    const before = await owner.ask(snapshot, { webhook: ids.webhook, delivery: ids.delivery });
    const answers = await askEverywhere(stranger, fill(document, ids));
    expect(answers.map((answer) => meaningOf(answer, ids))).toEqual([expected, expected]);
    expect(await owner.ask(snapshot, { webhook: ids.webhook, delivery: ids.delivery })).toEqual(before);
  });

  test.each(fields)('$field is refused to a key without $needs', async ({ document, needs }) => {
    await using client = await limitedClient(permissions.filter((permission) => permission !== needs));
    const answers = await askEverywhere(client, fill(document, ids));
    expect(answers.map(refusalOf)).toEqual(['FORBIDDEN', 'FORBIDDEN']);
  });

  test.each(fields)('$field is refused without a key', async ({ document }) => {
    await using client = createApiClient(posthorn, null);
    const answers = await askEverywhere(client, fill(document, ids));
    expect(answers.map(refusalOf)).toEqual(['UNAUTHENTICATED', 'UNAUTHENTICATED']);
  });

  test('a key that nobody has is refused over HTTP, and closes a WebSocket', async () => {
    await using client = createApiClient(posthorn, `phk_${'A'.repeat(43)}`);
    expect(codesOf(await client.ask('{ project { id } }'))).toEqual(['UNAUTHENTICATED']);
    await expect(client.askOverWebsocket('{ project { id } }')).rejects.toThrow('4403');
  });

  test('lists filtered by things of another project are not found', async () => {
    for (const filter of [`webhookIds: ["${ids.webhook}"]`, `eventIds: ["${ids.event}"]`]) {
      const answer = await stranger.ask(`{ deliveries(filter: { ${filter} }) { nodes { id } } }`);
      expect([answer.data, codesOf(answer)]).toEqual([null, ['NOT_FOUND']]);
    }
  });

  test('an idempotency key is one project’s: another one with the same key gets its own event', async () => {
    const document =
      'mutation { emitEvent(input: { type: "same.key", idempotencyKey: "shared" }) { event { id } duplicate } }';
    const [first, second] = [await owner.ask(document), await stranger.ask(document)];
    expect([first.data, second.data]).toMatchObject([
      { emitEvent: { duplicate: false } },
      { emitEvent: { duplicate: false } },
    ]);
  });

  test('events of one project never reach the webhooks or the feed of another', async () => {
    const { webhook, eventType } = await createWebhook(stranger, 'Owned', { url: `${receiver.url}/stranger` });
    using feed = await watchFeed(stranger, [webhook.id]);
    using everything = stranger.watch(DeliveryFeedDocument, {});
    await untilStatus(owner, await emitOne(owner, eventType), 'DELIVERED');
    const deliveryId = await emitOne(stranger, eventType);
    const items = await feed.until(({ change }) => change === 'DELIVERED');
    expect(items.map(({ delivery }) => delivery?.id)).toEqual([deliveryId, deliveryId]);
    const all = await everything.until(({ deliveryFeed }) => deliveryFeed.change === 'DELIVERED');
    expect(new Set(all.map(({ deliveryFeed }) => deliveryFeed.webhook.id))).toEqual(new Set([webhook.id]));
    expect(receiver.requests.filter(({ path }) => path === '/stranger')).toHaveLength(1);
  });

  test('a cursor of another project’s feed opens nothing of it', async () => {
    using feed = stranger.watch(DeliveryFeedDocument, { after: ids.cursor });
    const answer = await feed.nextAnswer();
    expect(['BAD_USER_INPUT', 'CURSOR_EXPIRED']).toContain(answer?.errors[0]?.code);
    expect(JSON.stringify(answer)).not.toContain(ids.webhook);
  });
});
