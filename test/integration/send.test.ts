import { createHmac, createPublicKey, verify } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { parsePrivateKey, privateKeyText } from '../../src/domain/asymmetric-key.ts';
import { secretText } from '../../src/domain/signature.ts';
import { createSender, type Sender, type SenderOptions } from '../../worker/send.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { startRawReceiver, startReceiver } from '../support/receiver.ts';

const signal = new AbortController().signal;

function loopbackSender(changes: Partial<SenderOptions> = {}): Sender {
  return createSender({
    brand: 'posthorn',
    version: '1.2.3',
    attemptTimeoutMs: 2000,
    allowedCidrs: ['127.0.0.0/8'],
    onInternalError: (error) => {
      throw error;
    },
    ...changes,
  });
}

describe('the request', () => {
  test('carries exactly the headers of the contract, the body’s own bytes, and the webhook’s headers', async () => {
    await using receiver = await startReceiver();
    await using sender = loopbackSender({ now: () => new Date(1_700_000_000_999) });
    const dispatch = dispatchTo(`${receiver.url}/hook?a=1`, {
      attemptNumber: 3,
      headers: [{ name: 'X-Own', value: 'mine' }],
    });
    await sender.send(dispatch, signal);
    const [request] = receiver.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/hook?a=1', body: dispatch.body });
    expect(request?.headers).toEqual({
      host: new URL(receiver.url).host,
      connection: 'keep-alive',
      'content-length': String(Buffer.byteLength(dispatch.body)),
      'content-type': 'application/json',
      'user-agent': 'Posthorn/1.2.3',
      'webhook-id': dispatch.eventId,
      'webhook-timestamp': '1700000000',
      'webhook-signature': expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/),
      'x-posthorn-event': 'config.deployed',
      'x-posthorn-delivery': dispatch.deliveryId,
      'x-posthorn-attempt': '3',
      'x-own': 'mine',
    });
  });

  test('verifies with the standardwebhooks package, with either secret of a rotation', async () => {
    await using receiver = await startReceiver();
    await using sender = loopbackSender();
    const secrets = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    const dispatch = dispatchTo(receiver.url, { secrets });
    await sender.send(dispatch, signal);
    const [request] = receiver.requests;
    for (const secret of secrets) {
      const verified = new Webhook(secretText(secret)).verify(request?.body ?? '', request?.headers ?? {});
      expect(verified).toEqual(JSON.parse(dispatch.body));
    }
  });

  test('carries a v1a signature for each ed25519 key after the v1 ones, in one header', async () => {
    await using receiver = await startReceiver();
    await using sender = loopbackSender({ now: () => new Date(1_700_000_000_000) });
    const asymmetricKeys = [1, 2].map((byte) => parsePrivateKey(privateKeyText(Buffer.alloc(32, byte))));
    const dispatch = dispatchTo(receiver.url, { asymmetricKeys });
    await sender.send(dispatch, signal);
    const { body = '', headers = {} } = receiver.requests[0] ?? {};
    const entries = (headers['webhook-signature'] ?? '').split(' ').map((entry) => entry.split(','));
    expect(entries.map(([version]) => version)).toEqual(['v1', 'v1a', 'v1a']);
    const signed = Buffer.from(`${dispatch.eventId}.1700000000.${body}`);
    for (const [index, key] of asymmetricKeys.entries()) {
      const signature = Buffer.from(entries[index + 1]?.[1] ?? '', 'base64');
      expect(verify(null, signed, createPublicKey(key), signature)).toBe(true);
    }
  });

  test('signs in the timestamped hex style under the brand’s header', async () => {
    await using receiver = await startReceiver();
    await using sender = loopbackSender({ brand: 'agenta', now: () => new Date(1_700_000_000_000) });
    const secret = Buffer.alloc(32, 9);
    const dispatch = dispatchTo(receiver.url, { signatureStyle: 'TIMESTAMPED_HEX', secrets: [secret] });
    await sender.send(dispatch, signal);
    const digest = createHmac('sha256', secretText(secret)).update(`1700000000.${dispatch.body}`).digest('hex');
    expect(receiver.requests[0]?.headers).toMatchObject({ 'x-agenta-signature': `t=1700000000,v1=${digest}` });
    expect(receiver.requests[0]?.headers).not.toHaveProperty('webhook-signature');
  });

  test('lets no header of the webhook stand in for one of Posthorn’s or the connection’s', async () => {
    await using receiver = await startReceiver();
    await using sender = loopbackSender();
    const names = [
      'Host',
      'Content-Length',
      'Transfer-Encoding',
      'Connection',
      'Expect',
      'Upgrade',
      'TE',
      'Content-Type',
      'User-Agent',
      'Webhook-Id',
      'WEBHOOK-SIGNATURE',
      'webhook-timestamp',
      'X-Posthorn-Attempt',
      'x-posthorn-signature',
    ];
    const result = await sender.send(
      dispatchTo(receiver.url, { headers: names.map((name) => ({ name, value: 'forged' })) }),
      signal,
    );
    expect(result.response?.status).toBe(200);
    expect(JSON.stringify(receiver.requests[0]?.headers)).not.toContain('forged');
  });
});

describe('the answer', () => {
  test('is kept with status, headers and body', async () => {
    await using receiver = await startReceiver(() => ({ status: 500, headers: { 'x-a': 'b' }, body: 'oops' }));
    await using sender = loopbackSender();
    const result = await sender.send(dispatchTo(receiver.url), signal);
    expect(result).toMatchObject({
      response: { status: 500, body: 'oops' },
      retryAfterMs: null,
      receiverControl: null,
    });
    expect(result).toMatchObject({ errorCode: null, errorMessage: null });
    expect(result.response?.headers).toContainEqual({ name: 'x-a', value: 'b' });
  });

  test('comes over few connections, whose timings go to the request that each was made for', async () => {
    await using receiver = await startReceiver();
    await using sender = loopbackSender();
    const connectTimes: (number | null)[] = [];
    for (let count = 0; count < 10; count += 1) {
      const { timings } = await sender.send(dispatchTo(receiver.url), signal);
      expect(timings).toEqual({
        dnsMs: null,
        connectMs: timings.connectMs,
        tlsMs: null,
        firstByteMs: expect.any(Number),
      });
      connectTimes.push(timings.connectMs);
    }
    // A connection is free again one turn of the event loop after its answer, so that sending at once takes a second.
    expect(receiver.connectionCount()).toBeLessThanOrEqual(2);
    expect(connectTimes.filter((connectMs) => connectMs !== null)).toHaveLength(receiver.connectionCount());
  });

  test('a redirect is not followed', async () => {
    await using elsewhere = await startReceiver();
    await using receiver = await startReceiver(() => ({ status: 302, headers: { location: elsewhere.url } }));
    await using sender = loopbackSender();
    expect((await sender.send(dispatchTo(receiver.url), signal)).response?.status).toBe(302);
    expect(elsewhere.requests).toEqual([]);
  });

  test.each([204, 304])('a %i answer has an empty body', async (status) => {
    await using receiver = await startReceiver(() => ({ status }));
    await using sender = loopbackSender();
    expect(await sender.send(dispatchTo(receiver.url), signal)).toMatchObject({
      response: { status, body: '' },
      errorCode: null,
    });
  });

  test('103 early hints are passed over', async () => {
    await using receiver = await startRawReceiver((socket) => {
      socket.once('data', () =>
        socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'),
      );
    });
    await using sender = loopbackSender();
    const result = await sender.send(dispatchTo(receiver.url), signal);
    expect(result.response).toEqual({ status: 200, headers: [{ name: 'content-length', value: '2' }], body: 'ok' });
  });

  test.each([
    ['120', 120_000],
    [' 0 ', 0],
    ['Tue, 14 Nov 2023 22:14:20 GMT', 60_000],
    ['Tue, 14 Nov 2023 22:13:19 GMT', 0],
    ['Tuesday, 14-Nov-23 22:14:20 GMT', 60_000],
    ['Tue Nov 14 22:14:20 2023', 60_000],
    ['soon', null],
    ['-5', null],
    ['1.5', null],
    ['2024', 2_024_000],
    ['9'.repeat(25), Number.MAX_SAFE_INTEGER],
    [['5', '7'], 5_000],
    ['2024-01-01', null],
  ])('Retry-After %j is read as %s ms', async (text, retryAfterMs) => {
    await using receiver = await startReceiver(() => ({ status: 503, headers: { 'retry-after': text } }));
    await using sender = loopbackSender({ now: () => new Date(1_700_000_000_000) });
    expect((await sender.send(dispatchTo(receiver.url), signal)).retryAfterMs).toBe(retryAfterMs);
  });

  test.each([
    ['disable', 'disable'],
    ['Abort-Message', 'abort-message'],
    ['explode', null],
    [['disable', 'abort-message'], 'disable'],
  ])('webhook-delivery: %s is read as %s', async (text, receiverControl) => {
    await using receiver = await startReceiver(() => ({ headers: { 'webhook-delivery': text } }));
    await using sender = loopbackSender();
    expect((await sender.send(dispatchTo(receiver.url), signal)).receiverControl).toBe(receiverControl);
  });
});

/** The body that is stored of an answer with this one. */
async function bodyOf(body: Buffer | string): Promise<string> {
  await using receiver = await startReceiver(() => ({ body }));
  await using sender = loopbackSender();
  return (await sender.send(dispatchTo(receiver.url), signal)).response?.body ?? '';
}

describe('the stored body', () => {
  test('has what is not UTF-8 replaced and control characters, NUL among them, escaped', async () => {
    expect(await bodyOf(Buffer.from([0x61, 0xff, 0x62, 0xc3, 0x28]))).toBe('a\uFFFDb\uFFFD(');
    expect(await bodyOf('\0a\tb\nc\r\u001B[2J\u007F\u0085')).toBe('\\u0000a\tb\nc\\u000d\\u001b[2J\\u007f\\u0085');
  });

  test('ends after at most 4 KiB, between characters', async () => {
    const text = await bodyOf(`a${'ü'.repeat(10_000)}`);
    expect(text).toBe(`a${'ü'.repeat(2047)}`);
    const escaped = await bodyOf(Buffer.alloc(10_000));
    expect(Buffer.byteLength(escaped)).toBeLessThanOrEqual(4096);
    expect(escaped.startsWith('\\u0000\\u0000')).toBe(true);
  });
});

describe('breaking off', () => {
  test('the signal ends every request in flight with its reason, and refuses later ones', async () => {
    await using receiver = await startReceiver(() => ({ hang: true }));
    await using sender = loopbackSender();
    const controller = new AbortController();
    const sending = Array.from(
      { length: 20 },
      async () => await sender.send(dispatchTo(receiver.url), controller.signal),
    );
    await receiver.waitFor(20);
    controller.abort(new Error('stopping'));
    const outcomes = await Promise.allSettled(sending);
    expect(
      outcomes.every((outcome) => outcome.status === 'rejected' && String(outcome.reason) === 'Error: stopping'),
    ).toBe(true);
    await expect(sender.send(dispatchTo(receiver.url), controller.signal)).rejects.toThrow('stopping');
    expect(receiver.requests).toHaveLength(20);
  });

  test('one caller’s signal leaves the others’ requests alone', async () => {
    const answer = Promise.withResolvers<void>();
    await using receiver = await startReceiver(async () => {
      await answer.promise;
      return {};
    });
    await using sender = loopbackSender();
    const controller = new AbortController();
    const aborted = sender.send(dispatchTo(receiver.url), controller.signal);
    const kept = sender.send(dispatchTo(receiver.url), signal);
    await receiver.waitFor(2);
    controller.abort(new Error('only mine'));
    await expect(aborted).rejects.toThrow('only mine');
    answer.resolve();
    expect((await kept).response?.status).toBe(200);
  });

  test('disposing of the sender ends what is in flight', async () => {
    await using receiver = await startReceiver(() => ({ hang: true }));
    const sender = loopbackSender();
    const sending = Promise.allSettled([sender.send(dispatchTo(receiver.url), signal)]);
    await receiver.waitFor(1);
    await sender[Symbol.asyncDispose]();
    expect(await sending).toEqual([{ status: 'rejected', reason: new Error('the sender is closed') }]);
  });
});

test('a bug here is INTERNAL to the customer and told in full to the operator', async () => {
  const errors: unknown[] = [];
  await using receiver = await startReceiver();
  await using sender = loopbackSender({ onInternalError: (error) => errors.push(error) });
  const result = await sender.send(dispatchTo(receiver.url, { headers: [{ name: 'x-own', value: 'a\r\nb' }] }), signal);
  expect(result).toMatchObject({ response: null, errorCode: 'INTERNAL' });
  expect(result.errorMessage).not.toContain('x-own');
  expect(String(errors[0])).toContain('x-own');
  expect(receiver.requests).toEqual([]);
});

test.each([
  ['as it is', {}],
  ['decompressed', { headers: { 'content-encoding': 'gzip' }, body: gzipSync('ok') }],
])('a bug while an answer is read (%s) ends the attempt all the same', async (_how, answer) => {
  await using receiver = await startReceiver(() => answer);
  const bug = new Error('the clock is broken');
  const reported: unknown[] = [];
  let readings = 0;
  const now = (): Date => {
    readings += 1;
    if (readings > 1) throw bug; // the first is the start of the attempt, the second for Retry-After
    return new Date();
  };
  await using sender = loopbackSender({ now, onInternalError: (error) => reported.push(error) });
  const result = await sender.send(dispatchTo(receiver.url), signal);
  expect(result).toMatchObject({ response: null, errorCode: 'INTERNAL', durationMs: expect.any(Number) });
  expect(reported).toEqual([bug]);
});
