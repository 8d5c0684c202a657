import { createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';
import { Webhook as Verifier } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PublicKeysDocument, RotateWebhookSecretDocument } from '../generated/graphql.ts';
import { createWebhook, emit } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { deploy } from '../support/e2e-stack.ts';
import type { Deployment, RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { ReceivedRequest, Receiver } from '../support/receiver.ts';

/** In one process, and with workers that learn of a rotation from the database only. */
const deployments: Deployment[] = ['embedded', 'gateway and workers on redis'];

/** Emits an event to the receiver's one webhook and gives the request that comes of it. */
async function receiveNext(client: ApiClient, receiver: Receiver, eventType: string): Promise<ReceivedRequest> {
  const count = receiver.requests.length + 1;
  await emit(client, eventType, { count, text: 'wörld' });
  const request = (await receiver.waitFor(count, 15_000))[count - 1];
  if (request === undefined) throw new Error('no request came');
  return request;
}

async function rotate(client: ApiClient, id: string, overlapSeconds: number): Promise<string> {
  const { rotateWebhookSecret } = await client.run(RotateWebhookSecretDocument, { input: { id, overlapSeconds } });
  expect(rotateWebhookSecret.userErrors).toEqual([]);
  return rotateWebhookSecret.secret ?? '';
}

async function publicKeysOf(client: ApiClient, id: string): Promise<string[]> {
  return (await client.run(PublicKeysDocument, { id })).webhook?.publicKeys ?? [];
}

/** What the standardwebhooks package makes of the request. Throws when it does not verify. */
function verified(secret: string, { body, headers }: ReceivedRequest): unknown {
  return new Verifier(secret).verify(body, headers);
}

/** The entries of one version in the header of Standard Webhooks. */
function entriesOf(request: ReceivedRequest, version: 'v1' | 'v1a'): string[] {
  const entries = (request.headers['webhook-signature'] ?? '').split(' ').map((entry) => entry.split(','));
  return entries.flatMap(([name, signature]) => (name === version && signature !== undefined ? [signature] : []));
}

/** The numbers of the `v1a` entries that the public key verifies, from 0. */
function verifiedBy(publicKey: string, { headers, body }: ReceivedRequest, entries: readonly string[]): number[] {
  const [, encoded = ''] = /^whpk_([A-Za-z0-9+/]{43}=)$/.exec(publicKey) ?? [];
  const x = Buffer.from(encoded, 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const signed = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
  return entries.flatMap((entry, index) => (verify(null, signed, key, Buffer.from(entry, 'base64')) ? [index] : []));
}

/**
 * What Stripe tells receivers to do that use none of its libraries: split the header, sign `{t}.{body}` with the secret
 * as it was shown, compare with every v1 in constant time, and refuse what is older than the tolerance.
 */
function verifiesLikeStripe(header: string, body: string, secret: string, atSeconds: number): boolean {
  const toleranceSeconds = 300;
  const elements = header.split(',').map((element) => element.split('='));
  const [, timestamp = ''] = elements.find(([name]) => name === 't') ?? [];
  const expected = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest();
  const signatures = elements.filter(([name]) => name === 'v1').map(([, hex = '']) => Buffer.from(hex, 'hex'));
  const matches = signatures.some(
    (signature) => signature.length === expected.length && timingSafeEqual(signature, expected),
  );
  return matches && atSeconds - Number(timestamp) <= toleranceSeconds;
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

describe.each(deployments)('what receivers verify (%s)', (deployment) => {
  let posthorn: RunningPosthorn;
  let client: ApiClient;

  beforeAll(async () => {
    posthorn = await deploy(deployment);
    client = createApiClient(posthorn, posthorn.apiKey);
  });

  afterAll(async () => {
    await client?.[Symbol.asyncDispose]();
    await posthorn?.[Symbol.asyncDispose]();
  });

  test.concurrent('v1 verifies with the old and the new secret during a rotation, and after one without overlap with the newest alone', async () => {
    await using receiver = await startReceiver();
    const { webhook, secret, eventType } = await createWebhook(client, 'Symmetric', { url: receiver.url });
    const before = await receiveNext(client, receiver, eventType);
    expect(verified(secret, before)).toEqual(JSON.parse(before.body));
    expect(entriesOf(before, 'v1a')).toEqual([]);
    const second = await rotate(client, webhook.id, 3_600);
    const during = await receiveNext(client, receiver, eventType);
    for (const key of [secret, second]) expect(verified(key, during)).toEqual(JSON.parse(during.body));
    const third = await rotate(client, webhook.id, 0);
    const after = await receiveNext(client, receiver, eventType);
    expect(verified(third, after)).toEqual(JSON.parse(after.body));
    for (const key of [secret, second]) expect(() => verified(key, after)).toThrow('No matching signature');
    expect(entriesOf(after, 'v1')).toHaveLength(1);
  });

  test.concurrent('v1a verifies with the public keys that the API shows, during a rotation with either, beside a v1 that verifies', async () => {
    await using receiver = await startReceiver();
    const made = await createWebhook(client, 'Asymmetric', { url: receiver.url, signAsymmetrically: true });
    const { webhook, secret, eventType } = made;
    const [first = '', ...others] = await publicKeysOf(client, webhook.id);
    expect(others).toEqual([]);
    const before = await receiveNext(client, receiver, eventType);
    expect(verifiedBy(first, before, entriesOf(before, 'v1a'))).toEqual([0]);
    expect(verifiedBy(first, { ...before, body: `${before.body} ` }, entriesOf(before, 'v1a'))).toEqual([]);
    expect(verified(secret, before)).toEqual(JSON.parse(before.body));

    await rotate(client, webhook.id, 3_600);
    const [second = '', old] = await publicKeysOf(client, webhook.id);
    expect(old).toBe(first);
    const during = await receiveNext(client, receiver, eventType);
    expect(entriesOf(during, 'v1a')).toHaveLength(2);
    expect(verifiedBy(second, during, entriesOf(during, 'v1a'))).toEqual([0]);
    expect(verifiedBy(first, during, entriesOf(during, 'v1a'))).toEqual([1]);

    await rotate(client, webhook.id, 0);
    const [third = '', ...gone] = await publicKeysOf(client, webhook.id);
    expect(gone).toEqual([]);
    const after = await receiveNext(client, receiver, eventType);
    expect(entriesOf(after, 'v1a')).toHaveLength(1);
    expect(verifiedBy(third, after, entriesOf(after, 'v1a'))).toEqual([0]);
    for (const publicKey of [first, second]) expect(verifiedBy(publicKey, after, entriesOf(after, 'v1a'))).toEqual([]);
  });

  test.concurrent('TIMESTAMPED_HEX verifies as Stripe’s signatures do: within the tolerance, during a rotation with either secret', async () => {
    await using receiver = await startReceiver();
    const made = await createWebhook(client, 'Hex', { url: receiver.url, signatureStyle: 'TIMESTAMPED_HEX' });
    const { webhook, secret, eventType } = made;
    const verifies = ({ headers, body }: ReceivedRequest, key: string, now = nowSeconds()): boolean =>
      verifiesLikeStripe(headers['x-posthorn-signature'] ?? '', body, key, now);
    const before = await receiveNext(client, receiver, eventType);
    expect(before.headers).not.toHaveProperty('webhook-signature');
    expect(verifies(before, secret)).toBe(true);
    expect(verifies(before, secret, nowSeconds() + 400)).toBe(false);
    expect(verifies({ ...before, body: `${before.body} ` }, secret)).toBe(false);
    const second = await rotate(client, webhook.id, 3_600);
    const during = await receiveNext(client, receiver, eventType);
    expect([secret, second].map((key) => verifies(during, key))).toEqual([true, true]);
    const third = await rotate(client, webhook.id, 0);
    const after = await receiveNext(client, receiver, eventType);
    expect([secret, second, third].map((key) => verifies(after, key))).toEqual([false, false, true]);
  });
});
