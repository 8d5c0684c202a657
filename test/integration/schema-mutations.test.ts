import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { DueDelivery } from '../../src/domain/delivery.ts';
import type { FeedEntry, FeedSubscription } from '../../src/feed/feed.ts';
import { claimLeaseMs } from '../../src/domain/claim-lease.ts';
import { type DeliveryId, type EventId, idFromUuid, parseId, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { findApiKey } from '../../src/store/api-keys.ts';
import { blockedMessage } from '../../src/domain/webhook-url.ts';
import { newId } from '../../src/store/new-id.ts';
import { type Answer, openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';

let fixture: SchemaFixture;
let feed: FeedSubscription;
beforeAll(async () => {
  fixture = await openSchemaFixture();
});
afterAll(async () => await fixture[Symbol.asyncDispose]());
beforeEach(async () => {
  fixture.enqueued.length = 0;
  fixture.warnings.length = 0;
  await feed?.return?.();
  feed = await fixture.feed.subscribe(fixture.projectId);
});

async function nextEntry(): Promise<FeedEntry> {
  const item = await feed.next();
  if (item.done === true) throw new Error('the feed ended');
  return item.value.entry;
}

function clean({ data, errors }: Answer, field: string) {
  expect(errors).toEqual([]);
  expect(data[field].userErrors).toEqual([]);
  return data[field];
}

const create = `mutation ($input: CreateWebhookInput!) { createWebhook(input: $input) {
  webhook { id name url eventTypes status headers { name value } signatureStyle signAsymmetrically publicKeys maxAttempts retrySchedule rateLimitPerSecond description secrets { hint } }
  secret userErrors { field message code }
} }`;

const update = `mutation ($input: UpdateWebhookInput!) { updateWebhook(input: $input) {
  webhook { id name url headers { name value } signAsymmetrically publicKeys retrySchedule maxAttempts description } userErrors { field message code }
} }`;

describe('createWebhook', () => {
  test('makes a webhook with defaults and shows its secret once', async () => {
    const answer = await fixture.run(create, { input: { name: 'Plain', url: 'https://example.com/hook' } });
    const { webhook, secret } = clean(answer, 'createWebhook');
    expect(webhook).toMatchObject({
      name: 'Plain',
      url: 'https://example.com/hook',
      eventTypes: ['*'],
      status: 'ACTIVE',
      headers: [],
      signatureStyle: 'STANDARD_WEBHOOKS',
      signAsymmetrically: false,
      publicKeys: [],
      maxAttempts: null,
      retrySchedule: null,
    });
    expect(secret).toMatch(/^whsec_/);
    expect(webhook.secrets).toEqual([{ hint: secret.slice(-4) }]);
  });

  test('takes everything that can be said, and masks credentials', async () => {
    const input = {
      name: 'Full',
      url: 'https://example.com',
      eventTypes: ['config.*', 'invoice.paid'],
      description: 'All of it',
      headers: [
        { name: 'Authorization', value: 'Bearer 1234567890' },
        { name: 'X-Region', value: 'eu' },
      ],
      signatureStyle: 'TIMESTAMPED_HEX',
      maxAttempts: 3,
      retrySchedule: [1, 2],
      rateLimitPerSecond: 10,
    };
    const { webhook } = clean(await fixture.run(create, { input }), 'createWebhook');
    expect(webhook).toMatchObject({
      ...input,
      url: 'https://example.com/',
      headers: [
        { name: 'Authorization', value: '••••7890' },
        { name: 'X-Region', value: 'eu' },
      ],
    });
  });

  const good = { name: 'Plain', url: 'https://example.com/hook' };
  test.each([
    [{ name: '' }, ['name'], 'INVALID_NAME', '""'],
    [{ name: 'x'.repeat(101) }, ['name'], 'INVALID_NAME', 'xxx'],
    [{ name: 'a\0b' }, ['name'], 'INVALID_NAME', 'a\\u0000b'],
    [{ name: '\ud800' }, ['name'], 'INVALID_NAME', 'surrogate'],
    [{ name: '😀'.repeat(101) }, ['name'], 'INVALID_NAME', '100 characters'],
    [{ url: 'https://example.com/\ud800' }, ['url'], 'INVALID_URL', 'ud800'],
    [{ url: 'ftp://example.com' }, ['url'], 'INVALID_URL', 'ftp://example.com'],
    [{ url: 'http://example.com' }, ['url'], 'HTTPS_REQUIRED', 'http://example.com'],
    [{ url: 'https://127.0.0.1/' }, ['url'], 'BLOCKED_ADDRESS', '127.0.0.1'],
    [{ url: 'https://[::ffff:10.0.0.1]/' }, ['url'], 'BLOCKED_ADDRESS', '10.0.0.1'],
    [{ eventTypes: [] }, ['eventTypes'], 'INVALID_EVENT_TYPES', '[]'],
    [{ eventTypes: ['ok', 'Not Ok'] }, ['eventTypes', '1'], 'INVALID_EVENT_TYPE', '"Not Ok"'],
    [{ eventTypes: Array.from({ length: 51 }, () => 'a') }, ['eventTypes'], 'INVALID_EVENT_TYPES', '1 to 50'],
    [{ description: 'x'.repeat(1001) }, ['description'], 'INVALID_DESCRIPTION', '1,000'],
    [{ description: 'a\0b' }, ['description'], 'INVALID_DESCRIPTION', 'without NUL'],
    [{ description: '\udc00' }, ['description'], 'INVALID_DESCRIPTION', 'surrogate'],
    [
      { headers: [{ name: 'Content-Type', value: 'x' }] },
      ['headers', '0', 'name'],
      'INVALID_HEADER_NAME',
      'Content-Type',
    ],
    [{ headers: [{ name: 'Webhook-Id', value: 'x' }] }, ['headers', '0', 'name'], 'INVALID_HEADER_NAME', 'Webhook-Id'],
    [
      { headers: [{ name: 'X-Posthorn-A', value: 'x' }] },
      ['headers', '0', 'name'],
      'INVALID_HEADER_NAME',
      'X-Posthorn',
    ],
    [{ headers: [{ name: 'a b', value: 'x' }] }, ['headers', '0', 'name'], 'INVALID_HEADER_NAME', '"a b"'],
    [{ headers: [{ name: 'a', value: 'x\r\nb: c' }] }, ['headers', '0'], 'INVALID_HEADER_VALUE', 'printable'],
    [{ headers: [{ name: 'a', value: '••••' }] }, ['headers', '0'], 'INVALID_HEADER_VALUE', 'printable'],
    [{ headers: [{ name: 'a', value: '\ud800' }] }, ['headers', '0'], 'INVALID_HEADER_VALUE', 'printable'],
    [{ headers: [{ name: 'a', value: 'x'.repeat(1025) }] }, ['headers', '0'], 'INVALID_HEADER_VALUE', '1024'],
    [
      {
        headers: [
          { name: 'A', value: '1' },
          { name: 'a', value: '2' },
        ],
      },
      ['headers'],
      'DUPLICATE_HEADER',
      'different names',
    ],
    [
      { headers: Array.from({ length: 21 }, (_, index) => ({ name: `h${index}`, value: '' })) },
      ['headers'],
      'TOO_MANY_HEADERS',
      '20',
    ],
    [{ maxAttempts: 0 }, ['maxAttempts'], 'INVALID_MAX_ATTEMPTS', 'not 0'],
    [{ maxAttempts: 51 }, ['maxAttempts'], 'INVALID_MAX_ATTEMPTS', 'not 51'],
    [{ retrySchedule: [-1] }, ['retrySchedule'], 'INVALID_RETRY_SCHEDULE', '[-1]'],
    [{ rateLimitPerSecond: 10_001 }, ['rateLimitPerSecond'], 'INVALID_RATE_LIMIT', '10001'],
    [
      { signAsymmetrically: true, signatureStyle: 'TIMESTAMPED_HEX' },
      ['signAsymmetrically'],
      'SIGNATURE_STYLE_CONFLICT',
      'not true',
    ],
  ])('refuses %j, naming the field and its value', async (wrong, path, code, value) => {
    const { data, errors } = await fixture.run(create, { input: { ...good, ...wrong } });
    expect(errors).toEqual([]);
    expect(data.createWebhook).toMatchObject({ webhook: null, secret: null });
    expect(data.createWebhook.userErrors).toHaveLength(1);
    const [userError] = data.createWebhook.userErrors;
    expect(userError).toMatchObject({ field: ['input', ...path], code });
    expect(userError.message).toContain(value);
    expect(userError.message).toContain(path.join('.'));
  });

  test.each([
    [[{ name: 'a', value: 's3cret\n' }]],
    [
      [
        { name: 'a', value: 's3cret' },
        { name: 'A', value: 's3cret' },
      ],
    ],
    [Array.from({ length: 21 }, () => ({ name: 'a', value: 's3cret' }))],
  ])('never repeats the value of a refused header: %j', async (headers) => {
    const { data } = await fixture.run(create, { input: { ...good, headers } });
    expect(data.createWebhook.userErrors).toHaveLength(1);
    expect(data.createWebhook.userErrors[0].message).not.toContain('s3cret');
  });

  test('counts what a person sees: a hundred faces are a name', async () => {
    const name = '😀'.repeat(100);
    expect(clean(await fixture.run(create, { input: { ...good, name } }), 'createWebhook').webhook.name).toBe(name);
  });

  test('keeps a filter that is said twice once', async () => {
    const eventTypes = ['a.*', 'b', 'a.*'];
    const { webhook } = clean(await fixture.run(create, { input: { ...good, eventTypes } }), 'createWebhook');
    expect(webhook.eventTypes).toEqual(['a.*', 'b']);
  });

  test('takes null for absent', async () => {
    const nulls = {
      eventTypes: null,
      headers: null,
      signatureStyle: null,
      signAsymmetrically: null,
      description: null,
      retrySchedule: null,
    };
    const { webhook } = clean(await fixture.run(create, { input: { ...good, ...nulls } }), 'createWebhook');
    expect(webhook).toMatchObject({ eventTypes: ['*'], headers: [], signatureStyle: 'STANDARD_WEBHOOKS' });
  });

  test.each([[['10.0.0.1']], [['8.8.8.8', '169.254.169.254']], [['2606:4700:4700::1111', '::ffff:127.0.0.1']]])(
    'refuses a name that resolves to %j in the words of a delivery, and stores nothing',
    async (addresses) => {
      fixture.hosts.set('inside.test', addresses);
      const webhookCount = await fixture.db.prisma.webhook.count();
      const { data } = await fixture.run(create, { input: { ...good, url: 'https://INSIDE.test.:8443/hook' } });
      expect(data.createWebhook).toEqual({
        webhook: null,
        secret: null,
        userErrors: [
          {
            field: ['input', 'url'],
            code: 'BLOCKED_ADDRESS',
            message: `url "https://inside.test.:8443/hook" is refused: ${blockedMessage('inside.test')}`,
          },
        ],
      });
      expect(await fixture.db.prisma.webhook.count()).toBe(webhookCount);
    },
  );

  test('takes a name that resolves to public addresses, and one that does not resolve yet', async () => {
    fixture.hosts.set('public.test', ['8.8.8.8', '2606:4700:4700::1111']);
    for (const url of ['https://public.test/', 'https://not-yet.test/']) {
      const { webhook } = clean(await fixture.run(create, { input: { ...good, url } }), 'createWebhook');
      expect(webhook.url).toBe(url);
    }
  });

  test('says everything that is wrong at once', async () => {
    const signatures = { signAsymmetrically: true, signatureStyle: 'TIMESTAMPED_HEX' };
    const input = { name: '', url: 'nonsense', maxAttempts: 99, ...signatures };
    const { data } = await fixture.run(create, { input });
    const codes = data.createWebhook.userErrors.map((error: { code: string }) => error.code);
    expect(codes.sort()).toEqual(['INVALID_MAX_ATTEMPTS', 'INVALID_NAME', 'INVALID_URL', 'SIGNATURE_STYLE_CONFLICT']);
  });
});

describe('updateWebhook', () => {
  test('changes what is given, clears what is null, and keeps the rest', async () => {
    const id = await addWebhook(fixture, { description: 'Old', maxAttempts: 3, retrySchedule: [5] });
    const input = { id, name: 'New', description: null, retrySchedule: null };
    const { webhook } = clean(await fixture.run(update, { input }), 'updateWebhook');
    expect(webhook).toMatchObject({ name: 'New', description: null, retrySchedule: null, maxAttempts: 3 });
  });

  test('keeps a masked header value that comes back as it was shown', async () => {
    const id = await addWebhook(fixture, { headers: [{ name: 'authorization', value: 'Bearer 1234567890' }] });
    const headers = [
      { name: 'authorization', value: '••••7890' },
      { name: 'x-new', value: '1' },
    ];
    const { webhook } = clean(await fixture.run(update, { input: { id, headers } }), 'updateWebhook');
    expect(webhook.headers).toEqual(headers);
    const wrong = await fixture.run(update, { input: { id, headers: [{ name: 'authorization', value: '••••0000' }] } });
    expect(wrong.data.updateWebhook.userErrors).toMatchObject([{ code: 'INVALID_HEADER_VALUE' }]);
  });

  test('refuses a new URL whose name resolves to a private address, and changes nothing', async () => {
    fixture.hosts.set('inside.test', ['192.168.0.1']);
    const id = await addWebhook(fixture, { name: 'Old' });
    const { data } = await fixture.run(update, { input: { id, name: 'New', url: 'https://inside.test/' } });
    expect(data.updateWebhook).toMatchObject({
      webhook: null,
      userErrors: [{ field: ['input', 'url'], code: 'BLOCKED_ADDRESS' }],
    });
    expect(data.updateWebhook.userErrors[0].message).toContain(blockedMessage('inside.test'));
    const renamed = await fixture.run(update, { input: { id, description: 'Same' } });
    expect(clean(renamed, 'updateWebhook').webhook).toMatchObject({ name: 'Old', description: 'Same' });
  });

  test.each([['name'], ['url'], ['eventTypes'], ['signatureStyle'], ['signAsymmetrically']])(
    'refuses to clear %s',
    async (field) => {
      const id = await addWebhook(fixture);
      const { data, errors } = await fixture.run(update, { input: { id, [field]: null } });
      expect(errors).toEqual([]);
      expect(data.updateWebhook.userErrors).toMatchObject([{ field: ['input', field] }]);
      expect(data.updateWebhook.userErrors[0].message).toContain('null');
    },
  );
});

describe('signing asymmetrically', () => {
  const eventTypes = ['signed.*'];
  const publicKey = expect.stringMatching(/^whpk_[A-Za-z0-9+/]{43}=$/);
  const show = `query ($id: ID!) { webhook(id: $id) { publicKeys secrets { algorithm hint } } }`;
  const rotate = `mutation ($input: RotateWebhookSecretInput!) { rotateWebhookSecret(input: $input) {
    webhook { publicKeys secrets { algorithm hint expiresAt } } secret userErrors { field message code }
  } }`;

  test('shows the public key and the hints of key and secret, and never the private key', async () => {
    const input = { name: 'Asymmetric', url: 'https://example.com/hook', eventTypes, signAsymmetrically: true };
    const { webhook, secret } = clean(await fixture.run(create, { input }), 'createWebhook');
    expect(webhook).toMatchObject({ signAsymmetrically: true, publicKeys: [publicKey] });
    const shown = await fixture.run(show, { id: webhook.id });
    expect(shown.data.webhook).toEqual({
      publicKeys: webhook.publicKeys,
      secrets: [
        { algorithm: 'HMAC_SHA256', hint: secret.slice(-4) },
        { algorithm: 'ED25519', hint: webhook.publicKeys[0].slice(-4) },
      ],
    });
    expect(JSON.stringify(shown)).not.toContain('whsk_');
  });

  test('begins and ends with an update, and shows no key while it is off', async () => {
    const id = await addWebhook(fixture, { eventTypes });
    const on = clean(await fixture.run(update, { input: { id, signAsymmetrically: true } }), 'updateWebhook').webhook;
    expect(on).toMatchObject({ signAsymmetrically: true, publicKeys: [publicKey] });
    const off = clean(await fixture.run(update, { input: { id, signAsymmetrically: false } }), 'updateWebhook').webhook;
    expect(off).toMatchObject({ signAsymmetrically: false, publicKeys: [] });
    const { data } = await fixture.run(show, { id });
    expect(data.webhook.secrets).toMatchObject([{ algorithm: 'HMAC_SHA256' }]);
  });

  test.each([
    [{ signatureStyle: 'TIMESTAMPED_HEX' } as const, { signAsymmetrically: true }, 'signAsymmetrically'],
    [{ signAsymmetrically: true }, { signatureStyle: 'TIMESTAMPED_HEX' }, 'signatureStyle'],
    [{}, { signAsymmetrically: true, signatureStyle: 'TIMESTAMPED_HEX' }, 'signAsymmetrically'],
  ])('of a webhook with %j an update to %j is refused, naming %s', async (before, changes, field) => {
    const id = await addWebhook(fixture, { eventTypes, ...before });
    const { data, errors } = await fixture.run(update, { input: { id, ...changes } });
    expect(errors).toEqual([]);
    expect(data.updateWebhook).toMatchObject({
      webhook: null,
      userErrors: [{ field: ['input', field], code: 'SIGNATURE_STYLE_CONFLICT' }],
    });
    expect(data.updateWebhook.userErrors[0].message).toContain(field);
  });

  test('rotates the key with the secret: both public keys are shown during the overlap, newest first', async () => {
    const id = await addWebhook(fixture, { eventTypes, signAsymmetrically: true });
    const [old] = (await fixture.run(show, { id })).data.webhook.publicKeys;
    const overlapping = clean(await fixture.run(rotate, { input: { id } }), 'rotateWebhookSecret');
    expect(overlapping.webhook.publicKeys).toEqual([publicKey, old]);
    expect(overlapping.webhook.secrets).toMatchObject([
      { algorithm: 'HMAC_SHA256', hint: overlapping.secret.slice(-4), expiresAt: null },
      { algorithm: 'ED25519', expiresAt: null },
      { algorithm: 'HMAC_SHA256', expiresAt: expect.any(String) },
      { algorithm: 'ED25519', expiresAt: expect.any(String) },
    ]);
    const after = clean(await fixture.run(rotate, { input: { id, overlapSeconds: 0 } }), 'rotateWebhookSecret');
    expect(after.webhook.publicKeys).toEqual([publicKey]);
    expect(overlapping.webhook.publicKeys).not.toContain(after.webhook.publicKeys[0]);
  });

  test('is read for a page of webhooks in as many statements as for one', async () => {
    const page = `query ($first: Int!) { webhooks(first: $first) { nodes { publicKeys secrets { hint } } } }`;
    for (let count = 0; count < 3; count += 1) await addWebhook(fixture, { eventTypes, signAsymmetrically: true });
    const counts: number[] = [];
    for (const first of [1, 3]) {
      fixture.statements.length = 0;
      const { data, errors } = await fixture.run(page, { first });
      expect(errors).toEqual([]);
      expect(data.webhooks.nodes).toEqual(
        Array.from({ length: first }, () => ({
          publicKeys: [publicKey],
          secrets: [{}, {}].map(() => expect.anything()),
        })),
      );
      counts.push(fixture.statements.length);
    }
    expect(counts[1]).toBe(counts[0]);
  });
});

function change(field: string): string {
  return `mutation ($id: ID!) { ${field}(input: { id: $id }) { webhook { id status } userErrors { code } } }`;
}

describe('the status of a webhook', () => {
  test('is changed by pausing and resuming, which the feed shows, and resuming sends what waited', async () => {
    const id = await addWebhook(fixture);
    const [held] = await addDeliveries(fixture, id, 1, { held: true });
    expect(clean(await fixture.run(change('pauseWebhook'), { id }), 'pauseWebhook').webhook.status).toBe('PAUSED');
    expect(await nextEntry()).toMatchObject({ change: 'WEBHOOK_STATUS_CHANGED', webhookId: id, delivery: null });
    expect(clean(await fixture.run(change('resumeWebhook'), { id }), 'resumeWebhook').webhook.status).toBe('ACTIVE');
    expect(await nextEntry()).toMatchObject({ change: 'WEBHOOK_STATUS_CHANGED', webhookId: id });
    expect(fixture.enqueued).toEqual([held]);
  });

  test('ends with deletion, which cancels what waits and shows it in the feed', async () => {
    const id = await addWebhook(fixture);
    const [waiting] = await addDeliveries(fixture, id, 1, { status: 'RETRYING', dueAt: new Date() });
    clean(await fixture.run(change('deleteWebhook'), { id }), 'deleteWebhook');
    expect(await nextEntry()).toMatchObject({
      change: 'CANCELLED',
      eventType: 'config.deployed',
      delivery: { id: waiting, status: 'CANCELLED', failureReason: 'WEBHOOK_DELETED' },
    });
    expect(await nextEntry()).toMatchObject({ change: 'WEBHOOK_STATUS_CHANGED', webhookId: id });
    const again = await fixture.run(change('deleteWebhook'), { id });
    expect(again.data.deleteWebhook.userErrors).toEqual([{ code: 'NOT_FOUND' }]);
  });
});

describe('rotateWebhookSecret', () => {
  const rotate = `mutation ($input: RotateWebhookSecretInput!) { rotateWebhookSecret(input: $input) {
    webhook { secrets { hint expiresAt } } secret userErrors { field message code }
  } }`;

  test('shows the new secret once and lets the old one sign for a day', async () => {
    const id = await addWebhook(fixture);
    const { webhook, secret } = clean(await fixture.run(rotate, { input: { id } }), 'rotateWebhookSecret');
    expect(webhook.secrets).toHaveLength(2);
    expect(webhook.secrets[0]).toEqual({ hint: secret.slice(-4), expiresAt: null });
    const leftMs = Date.parse(webhook.secrets[1].expiresAt) - Date.now();
    expect(leftMs).toBeGreaterThan(86_000_000);
    expect(leftMs).toBeLessThanOrEqual(86_400_000);
  });

  test('without overlap leaves only the new secret', async () => {
    const id = await addWebhook(fixture);
    const answer = await fixture.run(rotate, { input: { id, overlapSeconds: 0 } });
    expect(clean(answer, 'rotateWebhookSecret').webhook.secrets).toHaveLength(1);
  });

  test.each([[-1], [604_801]])('refuses an overlap of %d s', async (overlapSeconds) => {
    const id = await addWebhook(fixture);
    const { data } = await fixture.run(rotate, { input: { id, overlapSeconds } });
    expect(data.rotateWebhookSecret).toMatchObject({
      secret: null,
      userErrors: [{ field: ['input', 'overlapSeconds'], code: 'INVALID_OVERLAP' }],
    });
    expect(data.rotateWebhookSecret.userErrors[0].message).toContain(String(overlapSeconds));
  });
});

describe('emitEvent', () => {
  const emit = `mutation ($input: EmitEventInput!) { emitEvent(input: $input) {
    event { id type data body occurredAt deliveries { nodes { id status nextAttemptAt } } }
    deliveryCount duplicate userErrors { field message code }
  } }`;
  let webhookId: WebhookId;
  beforeAll(async () => {
    webhookId = await addWebhook(fixture, { eventTypes: ['emitted.*'] });
  });

  async function deliveriesOfOurs(event: { id: string }): Promise<string[]> {
    const where = { eventId: uuidOf(parseId('event', event.id)), webhookId: uuidOf(webhookId) };
    const rows = await fixture.db.prisma.delivery.findMany({ where });
    return rows.map((row) => row.id);
  }

  test('stores the event, enqueues what is due and tells the feed', async () => {
    const data = { b: 1, a: [null, 'ü'] };
    const result = clean(await fixture.run(emit, { input: { type: 'emitted.now', data } }), 'emitEvent');
    expect(result).toMatchObject({ duplicate: false, event: { type: 'emitted.now', data } });
    expect(JSON.parse(result.event.body)).toMatchObject({ id: result.event.id, projectId: fixture.projectId, data });
    expect(result.deliveryCount).toBe(result.event.deliveries.nodes.length);
    expect(await deliveriesOfOurs(result.event)).toHaveLength(1);
    expect([...fixture.enqueued].sort()).toEqual(
      result.event.deliveries.nodes.map((node: { id: string }) => node.id).sort(),
    );
    expect(await nextEntry()).toMatchObject({
      change: 'CREATED',
      eventType: 'emitted.now',
      delivery: { status: 'PENDING' },
    });
  });

  test('leaves what is due later to its time', async () => {
    const deliverAt = new Date(Date.now() + 3_600_000).toISOString();
    const result = clean(await fixture.run(emit, { input: { type: 'emitted.later', deliverAt } }), 'emitEvent');
    expect(fixture.enqueued).toEqual([]);
    expect(fixture.deferred).toHaveLength(result.deliveryCount);
    expect(result.event.deliveries.nodes[0]).toMatchObject({ status: 'PENDING', nextAttemptAt: deliverAt });
  });

  test('knows a repetition by its idempotency key, and refuses another event under it', async () => {
    const input = { type: 'emitted.once', data: { a: 1 }, idempotencyKey: 'once' };
    const first = clean(await fixture.run(emit, { input }), 'emitEvent');
    fixture.enqueued.length = 0;
    const second = clean(await fixture.run(emit, { input }), 'emitEvent');
    expect(second).toMatchObject({
      duplicate: true,
      deliveryCount: first.deliveryCount,
      event: { id: first.event.id },
    });
    expect(fixture.enqueued).toEqual([]);
    const other = await fixture.run(emit, { input: { ...input, data: { a: 2 } } });
    expect(other.data.emitEvent).toMatchObject({
      event: null,
      userErrors: [{ field: ['input', 'idempotencyKey'], code: 'IDEMPOTENCY_CONFLICT' }],
    });
    expect(other.data.emitEvent.userErrors[0].message).toContain('"once"');
  });

  test('takes the same data in another order of its keys for the same event', async () => {
    const input = { type: 'emitted.ordered', idempotencyKey: 'ordered' };
    const first = clean(
      await fixture.run(emit, { input: { ...input, data: { x: 1, y: { a: 1, b: 2 } } } }),
      'emitEvent',
    );
    const again = clean(
      await fixture.run(emit, { input: { ...input, data: { y: { b: 2, a: 1 }, x: 1 } } }),
      'emitEvent',
    );
    expect(again).toMatchObject({ duplicate: true, event: { id: first.event.id } });
  });

  test.each([
    ['data nested 20,000 deep', { data: JSON.parse('['.repeat(20_000) + ']'.repeat(20_000)) as unknown }, '64 deep'],
    ['a year that no calendar has', { occurredAt: '0000-01-01T00:00:00Z' }, '0000-01-01'],
    ['a number that is none', { data: { a: Number('1e999') } }, 'too large'],
    ['an instant after all years', { occurredAt: '9999-12-31T23:59:59-01:00' }, '9999-12-31'],
    ['a day that no month has', { occurredAt: '2026-02-30T00:00:00Z' }, '2026-02-30'],
  ])('refuses %s as the caller’s mistake', async (_name, wrong, words) => {
    const { errors } = await fixture.run(emit, { input: { type: 'emitted.now', ...wrong } });
    expect(errors).toMatchObject([{ code: 'BAD_USER_INPUT' }]);
    expect(errors[0]?.message).toContain(words);
  });

  test('refuses data that only a literal and a variable together nest too deep', async () => {
    const document = `mutation ($inner: JSON) {
      emitEvent(input: { type: "emitted.now", data: ${'['.repeat(60)} $inner ${']'.repeat(60)} }) {
        event { id } userErrors { field code message }
      }
    }`;
    const deep = JSON.parse(`${'['.repeat(60)}${']'.repeat(60)}`) as unknown;
    const { data, errors } = await fixture.run(document, { inner: deep });
    expect(errors).toEqual([]);
    expect(data.emitEvent).toEqual({
      event: null,
      userErrors: [{ field: ['input', 'data'], code: 'INVALID_DATA', message: 'data must be nested at most 64 deep.' }],
    });
    clean(await fixture.run(document, { inner: [[[[1]]]] }), 'emitEvent');
  });

  test('succeeds when the feed cannot be reached, and says so to the operator', async () => {
    const context = fixture.contextOf(fixture.projectId);
    const broken = { ...fixture.feed, publish: async () => await Promise.reject(new Error('no feed')) };
    const answer = await fixture.run(emit, { input: { type: 'emitted.alone' } }, { ...context, feed: broken });
    expect(clean(answer, 'emitEvent').event.type).toBe('emitted.alone');
    expect(fixture.enqueued).not.toEqual([]);
    expect(fixture.warnings).toEqual(['changes were not published to the feed']);
  });

  test.each([[JSON.parse('{ "half": "\\ud800", "\\u0000": "\\u0000" }') as unknown], [Number.MAX_VALUE], [-0]])(
    'keeps %j as JSON has it',
    async (data) => {
      const { event } = clean(await fixture.run(emit, { input: { type: 'emitted.odd', data } }), 'emitEvent');
      expect(JSON.stringify(event.data)).toBe(JSON.stringify(data));
    },
  );

  test.each([
    [{ type: 'Not Ok' }, 'type', 'INVALID_EVENT_TYPE', '"Not Ok"'],
    [{ type: 'posthorn.webhook.disabled' }, 'type', 'RESERVED_EVENT_TYPE', 'posthorn.webhook.disabled'],
    [{ idempotencyKey: '\ud800' }, 'idempotencyKey', 'INVALID_IDEMPOTENCY_KEY', 'ud800'],
    [{ idempotencyKey: '' }, 'idempotencyKey', 'INVALID_IDEMPOTENCY_KEY', '""'],
    [{ idempotencyKey: 'x\0' }, 'idempotencyKey', 'INVALID_IDEMPOTENCY_KEY', 'u0000'],
    [{ data: 'x'.repeat(262_144) }, 'data', 'DATA_TOO_LARGE', '262146'],
    [{ deliverAt: '2999-01-01T00:00:00Z' }, 'deliverAt', 'INVALID_DELIVER_AT', '2999'],
  ])('refuses %j', async (wrong, field, code, value) => {
    const { data, errors } = await fixture.run(emit, { input: { type: 'emitted.now', ...wrong } });
    expect(errors).toEqual([]);
    expect(data.emitEvent).toMatchObject({ event: null, userErrors: [{ field: ['input', field], code }] });
    expect(data.emitEvent.userErrors[0].message).toContain(value);
  });
});

describe('resendDelivery', () => {
  const resend = `mutation ($id: ID!) { resendDelivery(input: { id: $id }) {
    delivery { id status attemptCount maxAttempts failureReason } userErrors { field code }
  } }`;

  test('sends a failed delivery again, and the feed shows it', async () => {
    const webhookId = await addWebhook(fixture);
    const columns = { status: 'FAILED' as const, attemptCount: 6, failureReason: 'EXHAUSTED', finishedAt: new Date() };
    const [id] = await addDeliveries(fixture, webhookId, 1, columns);
    const { delivery } = clean(await fixture.run(resend, { id }), 'resendDelivery');
    expect(delivery).toEqual({ id, status: 'PENDING', attemptCount: 6, maxAttempts: 12, failureReason: null });
    expect(fixture.enqueued).toEqual([id]);
    expect(await nextEntry()).toMatchObject({ change: 'RESENT', eventType: 'config.deployed', delivery: { id } });
  });

  test('takes over a claim that no attempt of this deployment can still hold', async () => {
    const webhookId = await addWebhook(fixture);
    const claimedAt = new Date(
      Date.now() - claimLeaseMs(fixture.contextOf(fixture.projectId).settings.attemptTimeoutMs),
    );
    const [id] = await addDeliveries(fixture, webhookId, 1, { status: 'DELIVERING', claimedAt });
    expect(clean(await fixture.run(resend, { id }), 'resendDelivery').delivery).toMatchObject({ status: 'PENDING' });
  });

  test('is refused while an attempt is being made, and for a webhook that is gone', async () => {
    const webhookId = await addWebhook(fixture);
    const [inFlight] = await addDeliveries(fixture, webhookId, 1, { status: 'DELIVERING', claimedAt: new Date() });
    const busy = await fixture.run(resend, { id: inFlight });
    expect(busy.data.resendDelivery.userErrors).toEqual([{ field: ['input', 'id'], code: 'IN_FLIGHT' }]);
    const [failed] = await addDeliveries(fixture, webhookId, 1, { status: 'FAILED' });
    await fixture.db.prisma.webhook.update({ where: { id: uuidOf(webhookId) }, data: { status: 'DISABLED' } });
    const gone = await fixture.run(resend, { id: failed });
    expect(gone.data.resendDelivery.userErrors).toEqual([{ field: ['input', 'id'], code: 'WEBHOOK_UNAVAILABLE' }]);
    expect(fixture.enqueued).toEqual([]);
  });
});

/** A worker that answers every delivery it is told of, through the feed. */
function answering(entryOf: (id: DeliveryId, eventId: EventId) => FeedEntry) {
  const context = fixture.contextOf(fixture.projectId);
  return {
    ...context,
    enqueue: async (due: readonly DueDelivery[]) => {
      const entries = due.map(async ({ id }) => {
        const { eventId } = await fixture.db.prisma.delivery.findUniqueOrThrow({ where: { id: uuidOf(id) } });
        return entryOf(id, idFromUuid('event', eventId));
      });
      await fixture.feed.publish(fixture.projectId, await Promise.all(entries));
    },
  };
}

describe('testWebhook', () => {
  const testIt = `mutation ($input: TestWebhookInput!) { testWebhook(input: $input) {
    delivery { id status event { type data } webhook { id } } attempt { number outcome responseStatus } userErrors { field message code }
  } }`;

  test('sends an event to that webhook only and waits for the answer', async () => {
    const webhookId = await addWebhook(fixture, { eventTypes: ['never.matches'] });
    const now = new Date().toISOString();
    const context = answering((id, eventId) => ({
      change: 'DELIVERED',
      at: now,
      webhookId,
      eventType: 'posthorn.test',
      delivery: {
        id,
        eventId,
        webhookId,
        status: 'DELIVERED',
        attemptCount: 1,
        maxAttempts: 1,
        roundStart: 0,
        trigger: 'TEST',
        dueAt: null,
        failureReason: null,
        createdAt: now,
        finishedAt: now,
      },
      attempt: {
        id: newId('attempt'),
        number: 1,
        outcome: 'SUCCEEDED',
        trigger: 'TEST',
        startedAt: now,
        durationMs: 3,
        dnsMs: null,
        connectMs: 1,
        tlsMs: null,
        firstByteMs: 2,
        responseStatus: 204,
        errorCode: null,
        errorMessage: null,
      },
    }));
    const result = clean(await fixture.run(testIt, { input: { id: webhookId } }, context), 'testWebhook');
    expect(result.attempt).toEqual({ number: 1, outcome: 'SUCCEEDED', responseStatus: 204 });
    expect(result.delivery).toMatchObject({
      status: 'DELIVERED',
      event: { type: 'posthorn.test', data: { test: true, webhookId } },
      webhook: { id: webhookId },
    });
  });

  test('says that the answer is pending when none comes in time', async () => {
    const webhookId = await addWebhook(fixture);
    const context = fixture.contextOf(fixture.projectId);
    const settings = { ...context.settings, attemptTimeoutMs: -4_900 };
    const answer = await fixture.run(
      testIt,
      { input: { id: webhookId, eventType: 'my.own_test' } },
      { ...context, settings },
    );
    expect(answer.errors).toEqual([]);
    expect(answer.data.testWebhook).toMatchObject({
      delivery: { status: 'PENDING', event: { type: 'my.own_test' } },
      attempt: null,
      userErrors: [{ code: 'TEST_PENDING' }],
    });
  });

  test('refuses what is no event type', async () => {
    const id = await addWebhook(fixture);
    const { data } = await fixture.run(testIt, { input: { id, eventType: '*' } });
    expect(data.testWebhook.userErrors).toMatchObject([{ field: ['input', 'eventType'], code: 'INVALID_EVENT_TYPE' }]);
  });
});

describe('createApiKey', () => {
  const createKey = `mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) {
    apiKey { id name prefix permissions expiresAt } key userErrors { field message code }
  } }`;

  test('makes a key that works, and shows it once', async () => {
    const input = { name: 'CI', permissions: ['EMIT_EVENTS'], expiresAt: '2999-01-01T00:00:00.000Z' };
    const { apiKey, key } = clean(await fixture.run(createKey, { input }), 'createApiKey');
    expect(apiKey).toMatchObject({ ...input, prefix: key.slice(0, apiKey.prefix.length) });
    expect(await findApiKey(fixture.db, key)).toMatchObject({
      apiKeyId: apiKey.id,
      projectId: fixture.projectId,
      permissions: new Set(['EMIT_EVENTS']),
    });
  });

  test('keeps a permission that is said twice once', async () => {
    const input = { name: 'CI', permissions: ['EMIT_EVENTS', 'VIEW_WEBHOOKS', 'EMIT_EVENTS'] };
    const { apiKey } = clean(await fixture.run(createKey, { input }), 'createApiKey');
    expect(apiKey.permissions).toEqual(['EMIT_EVENTS', 'VIEW_WEBHOOKS']);
  });

  test('never grants what the asking key does not have', async () => {
    const input = { name: 'More', permissions: ['MANAGE_WEBHOOKS', 'EMIT_EVENTS'] };
    const context = fixture.contextOf(fixture.projectId, ['MANAGE_WEBHOOKS']);
    const { data } = await fixture.run(createKey, { input }, context);
    expect(data.createApiKey).toMatchObject({
      apiKey: null,
      key: null,
      userErrors: [{ field: ['input', 'permissions', '1'], code: 'PERMISSION_NOT_HELD' }],
    });
    expect(data.createApiKey.userErrors[0].message).toContain('EMIT_EVENTS');
  });

  test.each([
    [{ name: ' ' }, 'name', 'INVALID_NAME'],
    [{ permissions: [] }, 'permissions', 'INVALID_PERMISSIONS'],
    [{ expiresAt: '2020-01-01T00:00:00Z' }, 'expiresAt', 'INVALID_EXPIRES_AT'],
  ])('refuses %j', async (wrong, field, code) => {
    const input = { name: 'CI', permissions: ['EMIT_EVENTS'], ...wrong };
    const { data, errors } = await fixture.run(createKey, { input });
    expect(errors).toEqual([]);
    expect(data.createApiKey).toMatchObject({ key: null, userErrors: [{ field: ['input', field], code }] });
  });
});
