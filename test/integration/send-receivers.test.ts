import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test, vi } from 'vitest';
import type { SendResult } from '../../src/domain/delivery.ts';
import { createSender } from '../../worker/send.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { type ReceiverAnswer, startRawReceiver, startReceiver } from '../support/receiver.ts';

const signal = new AbortController().signal;
/** For receivers that keep the sender waiting. */
const shortTimeoutMs = 300;
/** For all others: never reached, however busy the machine. */
const longTimeoutMs = 10_000;
/** A timer may be late on a busy machine; a deadline that is not kept is late by seconds. */
const latestMs = 1500;

function testSender(attemptTimeoutMs = longTimeoutMs) {
  return createSender({
    brand: 'posthorn',
    version: '1',
    attemptTimeoutMs,
    allowedCidrs: ['127.0.0.0/8'],
    onInternalError: (error) => {
      throw error;
    },
  });
}

/** Sends once to a receiver that answers so. */
async function sendTo(answer: ReceiverAnswer, attemptTimeoutMs?: number): Promise<SendResult> {
  await using receiver = await startReceiver(() => answer);
  await using sender = testSender(attemptTimeoutMs);
  return await sender.send(dispatchTo(receiver.url), signal);
}

/** Sends once to a server that does so with its connection once the request has begun to come. */
async function sendToRaw(act: (socket: Socket) => void, attemptTimeoutMs?: number): Promise<SendResult> {
  await using receiver = await startRawReceiver((socket) => socket.once('data', () => act(socket)));
  await using sender = testSender(attemptTimeoutMs);
  return await sender.send(dispatchTo(receiver.url), signal);
}

describe('slow receivers', () => {
  test('one that never answers is a timeout at the deadline', async () => {
    const result = await sendTo({ hang: true }, shortTimeoutMs);
    expect(result).toMatchObject({ response: null, errorCode: 'TIMEOUT', errorMessage: 'No response within 300 ms.' });
    expect(result.durationMs).toBeGreaterThanOrEqual(shortTimeoutMs);
    expect(result.durationMs).toBeLessThan(latestMs);
  });

  test('one that dribbles its body has the same deadline in all, and its 200 counts', async () => {
    const result = await sendTo({ status: 200, body: 'x'.repeat(1000), drip: { everyMs: 20 } }, shortTimeoutMs);
    expect(result).toMatchObject({
      response: { status: 200 },
      errorCode: null,
      errorMessage: 'The response body did not end within 300 ms.',
    });
    expect(result.response?.body).toMatch(/^x{2,30}$/);
    expect(result.durationMs).toBeLessThan(latestMs);
  });

  test('one that dribbles the body of a 500 is a timeout with that 500', async () => {
    expect(await sendTo({ status: 500, body: 'x'.repeat(1000), drip: { everyMs: 20 } }, shortTimeoutMs)).toMatchObject({
      response: { status: 500 },
      errorCode: 'TIMEOUT',
    });
  });

  test('headers that never end are a timeout', async () => {
    const result = await sendToRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      const timer = setInterval(() => socket.write('x-a: b\r\n'), 20);
      socket.on('close', () => clearInterval(timer));
    }, shortTimeoutMs);
    expect(result).toMatchObject({ response: null, errorCode: 'TIMEOUT' });
    expect(result.durationMs).toBeLessThan(latestMs);
  });

  test('interim answers without end are a timeout', async () => {
    const result = await sendToRaw((socket) => {
      const timer = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 20);
      socket.on('close', () => clearInterval(timer));
    }, shortTimeoutMs);
    expect(result).toMatchObject({ response: null, errorCode: 'TIMEOUT' });
  });

  test('two hundred hanging requests all end at their deadline, and close their connections', async () => {
    const closed = Promise.withResolvers<void>();
    let openCount = 0;
    await using receiver = await startRawReceiver((socket) => {
      openCount += 1;
      socket.resume().on('close', () => {
        openCount -= 1;
        if (openCount === 0) closed.resolve();
      });
    });
    await using sender = testSender(shortTimeoutMs);
    const results = await Promise.all(
      Array.from({ length: 200 }, async () => await sender.send(dispatchTo(receiver.url), signal)),
    );
    expect(new Set(results.map((result) => result.errorCode))).toEqual(new Set(['TIMEOUT']));
    await closed.promise;
    expect(openCount).toBe(0);
  });

  test('a receiver that hung does not harm the next request to it', async () => {
    await using receiver = await startReceiver((_request, index) => (index === 0 ? { hang: true } : {}));
    await using sender = testSender(shortTimeoutMs);
    expect((await sender.send(dispatchTo(receiver.url), signal)).errorCode).toBe('TIMEOUT');
    expect((await sender.send(dispatchTo(receiver.url), signal)).response?.status).toBe(200);
  });
});

describe('large answers', () => {
  test('a body without end is cut at 64 KiB: a 200 counts, a 500 says so', async () => {
    const endless: ReceiverAnswer = { endless: true, body: 'y'.repeat(16_384) };
    const delivered = await sendTo({ ...endless, status: 200 });
    expect(delivered).toMatchObject({ response: { status: 200, body: 'y'.repeat(4096) }, errorCode: null });
    expect(delivered.errorMessage).toContain('64 KiB');
    expect(delivered.durationMs).toBeLessThan(longTimeoutMs);
    expect(await sendTo({ ...endless, status: 500 })).toMatchObject({
      response: { status: 500 },
      errorCode: 'BODY_TOO_LARGE',
    });
  });

  test.each([
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
  ] as const)('a %s bomb is cut at 64 KiB of what comes out of it', async (coding, compress) => {
    const bomb = compress(Buffer.alloc(32 * 1024 * 1024, 'z'));
    const result = await sendTo({ status: 500, headers: { 'content-encoding': coding }, body: bomb });
    expect(result).toMatchObject({ response: { status: 500, body: 'z'.repeat(4096) }, errorCode: 'BODY_TOO_LARGE' });
  });

  test('a head of more than 32 KiB is refused', async () => {
    const result = await sendTo({ headers: { 'x-large': 'a'.repeat(40_000) } });
    expect(result).toMatchObject({
      response: null,
      errorCode: 'PROTOCOL',
      errorMessage: 'The response head is larger than 32 KiB.',
    });
  });

  test('of many headers the first 32 are kept, each value up to 1 KiB', async () => {
    const headers = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x-${index}`, String(index)]));
    const result = await sendTo({ headers: { 'x-long': 'v'.repeat(5000), 'set-cookie': ['a=1', 'b=2'], ...headers } });
    expect(result.response?.headers).toHaveLength(32);
    expect(result.response?.headers).toContainEqual({ name: 'x-long', value: 'v'.repeat(1024) });
    expect(result.response?.headers.filter(({ name }) => name === 'set-cookie').map(({ value }) => value)).toEqual([
      'a=1',
      'b=2',
    ]);
  });

  test('five hundred hostile answers leave no memory behind', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const bomb = gzipSync(Buffer.alloc(8 * 1024 * 1024));
    await using receiver = await startReceiver((_request, index) =>
      index % 2 === 0
        ? { headers: { 'content-encoding': 'gzip' }, body: bomb }
        : { endless: true, body: 'y'.repeat(65_536) },
    );
    await using sender = testSender();
    const sendTwenty = async () =>
      await Promise.all(Array.from({ length: 20 }, async () => await sender.send(dispatchTo(receiver.url), signal)));
    const usedBytes = () => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    await sendTwenty();
    const before = usedBytes();
    for (let round = 0; round < 25; round += 1) await sendTwenty();
    // Sockets and inflaters that were destroyed give their memory back some turns of the loop later.
    const left = () => expect(usedBytes() - before).toBeLessThan(24 * 1024 * 1024);
    await vi.waitFor(left, { timeout: 10_000, interval: 50 });
  });
});

describe('compressed answers', () => {
  test.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['identity', (bytes: Buffer) => bytes],
  ] as const)('%s is read', async (coding, compress) => {
    const result = await sendTo({ headers: { 'content-encoding': coding }, body: compress(Buffer.from('héllo')) });
    expect(result).toMatchObject({ response: { body: 'héllo' }, errorCode: null, errorMessage: null });
  });

  test('one that is not what it says is noted, and its status counts all the same', async () => {
    const corrupt: ReceiverAnswer = { headers: { 'content-encoding': 'gzip' }, body: 'not gzip at all' };
    expect(await sendTo(corrupt)).toMatchObject({
      response: { status: 200 },
      errorCode: null,
      errorMessage: expect.stringContaining('content-encoding'),
    });
    expect(await sendTo({ ...corrupt, status: 500 })).toMatchObject({
      response: { status: 500 },
      errorCode: 'PROTOCOL',
    });
  });
});

describe('broken answers', () => {
  test('a reset before the head is a connection error', async () => {
    expect(await sendTo({ reset: 'BEFORE_HEAD' })).toMatchObject({ response: null, errorCode: 'CONNECT' });
  });

  test('a reset in the middle of the body keeps the head, and a 200 counts', async () => {
    const broken: ReceiverAnswer = { reset: 'MID_BODY', headers: { 'content-length': '1000' }, body: 'part' };
    expect(await sendTo(broken)).toMatchObject({ response: { status: 200 }, errorCode: null });
    expect(await sendTo({ ...broken, status: 500 })).toMatchObject({ response: { status: 500 }, errorCode: 'CONNECT' });
  });

  test('a connection closed without an answer is a connection error', async () => {
    const result = await sendToRaw((socket) => socket.end());
    expect(result).toMatchObject({
      response: null,
      errorCode: 'CONNECT',
      errorMessage: 'The connection was closed before the response was complete.',
    });
  });

  test.each([
    ['SSH-2.0-OpenSSH_9.6\r\n', 'another protocol'],
    ['HTTP/1.1 abc OK\r\n\r\n', 'no status'],
    ['HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n', 'no status that there is'],
    ['HTTP/1.1 200 OK\r\nbad header\r\n\r\n', 'no header'],
    ['HTTP/1.1 200 OK\r\nx: \0\r\n\r\n', 'NUL in a header'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx', 'two lengths'],
    ['HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n', 'an upgrade nobody asked for'],
    ['HTTP/1.1 100 Continue\r\n\r\n', 'a 100 nobody asked for'],
  ])('%j (%s: %s) is a protocol error', async (bytes) => {
    expect(await sendToRaw((socket) => socket.write(bytes))).toMatchObject({ response: null, errorCode: 'PROTOCOL' });
  });

  test('a chunked body with a bad chunk keeps its head', async () => {
    const head = 'HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n';
    expect(await sendToRaw((socket) => socket.write(`${head}2\r\nab\r\nzz\r\n`))).toMatchObject({
      response: { status: 500, body: 'ab' },
      errorCode: 'PROTOCOL',
    });
  });

  test('a body shorter than its content-length keeps its head', async () => {
    const result = await sendToRaw((socket) => socket.end('HTTP/1.1 500 Oops\r\ncontent-length: 10\r\n\r\nabc'));
    expect(result).toMatchObject({
      response: { status: 500, body: 'abc' },
      errorCode: expect.stringMatching(/CONNECT|PROTOCOL/),
    });
  });

  test('bytes after an answer do not become the next request’s answer', async () => {
    const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n';
    await using receiver = await startRawReceiver((socket) =>
      socket.on('data', () => socket.write(`${answer}okHTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n`)),
    );
    await using sender = testSender();
    for (let count = 0; count < 5; count += 1) {
      expect((await sender.send(dispatchTo(receiver.url), signal)).response?.status).toBe(200);
    }
  });

  test('a port where nobody listens is refused', async () => {
    const receiver = await startReceiver();
    await receiver[Symbol.asyncDispose]();
    await using sender = testSender();
    const result = await sender.send(dispatchTo(receiver.url), signal);
    expect(result).toMatchObject({
      response: null,
      errorCode: 'CONNECT',
      errorMessage: 'The receiver refused the connection.',
    });
  });
});
