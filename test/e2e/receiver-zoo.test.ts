import { readFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attemptTimeoutMs, createReceiverStack, deliverTo, expectWellFormed } from '../support/e2e-attempts.ts';
import type { AttemptInFull, DeliveryInFull } from '../support/e2e-attempts.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { startOn } from '../support/e2e-stack.ts';
import type { Posthorn } from '../support/posthorn.ts';
import { startFullReceiver } from '../support/receiver-backlog.ts';
import { expiredCertificate, otherNameCertificate, selfSignedCertificate } from '../support/receiver-authority.ts';
import { startTlsReceiver } from '../support/receiver-tls.ts';
import type { TlsReceiverOptions } from '../support/receiver-tls.ts';
import { startRawReceiver, startReceiver } from '../support/receiver.ts';
import type { ReceiverAnswer } from '../support/receiver.ts';

// Receivers of every temper, each met by five webhooks at once; what is asked is what the attempts show, that each is
// one request, and what Posthorn is like afterwards.

/** Webhooks at each receiver, with one attempt each. */
const webhookCount = 5;
/** Of 25 deliveries to healthy receivers each, before memory is looked at. */
const warmUpRounds = 4;
/** With as much heap as it likes, a process that does nothing but ordinary deliveries grows for minutes. */
const smallHeap = { NODE_OPTIONS: '--max-old-space-size=128' };
/**
 * What the whole zoo may add to the most memory that the process ever had; the bodies of the ten gzip bombs alone would
 * be 500 MiB. Measured: 33 MiB for 100 bombs and 50 endless bodies.
 */
const memoryGrowthBytesMax = 100 * 1024 * 1024;
/** Of a small delivery to a healthy receiver on loopback, on a busy machine. */
const healthyMs = 1000;

const running = new AsyncDisposableStack();
let posthorn: Posthorn;
let client: ApiClient;
let memoryBefore: Memory;

beforeAll(async () => {
  const stack = running.use(await createReceiverStack());
  posthorn = running.use(await startOn({ ...stack, env: { ...stack.env, ...smallHeap } }));
  client = running.use(createApiClient(posthorn, posthorn.apiKey));
  // A process grows with its first hundreds of deliveries, whatever the receivers are like; that is not the zoo's.
  for (let round = 0; round < warmUpRounds; round += 1) {
    await Promise.all(Array.from({ length: webhookCount }, async () => await attemptsAtHttp({})));
  }
  memoryBefore = await memoryOf(posthorn.pid);
});

afterAll(async () => await running.disposeAsync());

interface Memory {
  residentBytes: number;
  /** The most that were resident at any time. */
  peakBytes: number;
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

/** What the process has of the machine's memory, by the kernel's account. */
async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const bytesOf = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
  return { residentBytes: bytesOf('VmRSS'), peakBytes: bytesOf('VmHWM') };
}

/** The attempts of all webhooks, sent to at once: one each, well-formed, and its delivery ended as it did. */
async function attemptsAt(url: string, data: unknown = {}): Promise<AttemptInFull[]> {
  const emittedAt = Date.now();
  const limits = Array.from({ length: webhookCount }, () => ({ maxAttempts: 1 }));
  const deliveries = await deliverTo(client, url, limits, { data });
  return deliveries.map((delivery) => onlyAttempt(delivery, emittedAt));
}

function onlyAttempt(delivery: DeliveryInFull, emittedAt: number): AttemptInFull {
  const [attempt, ...more] = delivery.attempts.nodes;
  expectWellFormed(attempt, emittedAt);
  expect(more).toEqual([]);
  const [status, failureReason] = attempt?.outcome === 'SUCCEEDED' ? ['DELIVERED', null] : ['FAILED', 'EXHAUSTED'];
  expect(delivery).toMatchObject({ status, failureReason, attemptCount: 1, nextAttemptAt: null });
  return attempt as AttemptInFull;
}

/** Attempts at an HTTP receiver, which got one request for each. */
async function attemptsAtHttp(answer: ReceiverAnswer): Promise<AttemptInFull[]> {
  await using receiver = await startReceiver(() => answer);
  const attempts = await attemptsAt(receiver.url);
  expect(receiver.requests).toHaveLength(webhookCount);
  return attempts;
}

/** Attempts at a receiver below HTTP, which got one request for each, and does this once it has begun to come. */
async function attemptsAtRaw(act: string | ((socket: Socket) => void), data?: unknown): Promise<AttemptInFull[]> {
  let requestCount = 0;
  await using receiver = await startRawReceiver((socket) =>
    socket.on('data', (bytes) => {
      if (!bytes.toString('latin1').startsWith('POST ')) return;
      requestCount += 1;
      if (typeof act === 'string') socket.write(act, 'latin1');
      else act(socket);
    }),
  );
  const attempts = await attemptsAt(receiver.url, data);
  expect(requestCount).toBe(webhookCount);
  return attempts;
}

/** Attempts at a TLS receiver, and the HTTP versions of the requests that it got. */
async function attemptsAtTls(options: TlsReceiverOptions) {
  await using receiver = await startTlsReceiver(options);
  return { attempts: await attemptsAt(receiver.url), httpVersions: receiver.httpVersions };
}

/** Writes the text again and again until the sender hangs up. */
function repeat(socket: Socket, text: string, everyMs: number): void {
  const timer = setInterval(() => socket.write(text), everyMs);
  socket.on('close', () => clearInterval(timer));
}

type Shown = Omit<Partial<Record<keyof AttemptInFull, unknown>>, 'outcome'> & Pick<AttemptInFull, 'outcome'>;

/** What all attempts at one receiver show. */
function each(shown: Shown): Shown[] {
  return Array.from({ length: webhookCount }, () => shown);
}

const delivered: Shown = { outcome: 'SUCCEEDED', responseStatus: 200, errorCode: null };
const unanswered: Shown = { outcome: 'FAILED', responseStatus: null, responseBody: null, responseHeaders: [] };
const failed500: Shown = { outcome: 'FAILED', responseStatus: 500 };

const unfinished = `The response body did not end within ${attemptTimeoutMs} ms.`;
const noResponse = `No response within ${attemptTimeoutMs} ms.`;
const tooLarge = 'The response body is larger than 64 KiB; the rest was not read.';
const wasReset = 'The connection was reset before the response was complete.';
const wasClosed = 'The connection was closed before the response was complete.';
const notHttp = 'The response is not valid HTTP/1.1.';
const headTooLarge = 'The response head is larger than 32 KiB.';

describe.concurrent('slow receivers', () => {
  const dribble: ReceiverAnswer = { body: 'dribble'.repeat(100), drip: { everyMs: 1000 } };

  test('a 200 whose body comes a byte a second is delivered at the deadline', async () => {
    const attempts = await attemptsAtHttp(dribble);
    expect(attempts).toMatchObject(each({ ...delivered, errorMessage: unfinished }));
    for (const { durationMs } of attempts) {
      expect(durationMs).toBeGreaterThanOrEqual(attemptTimeoutMs);
    }
  });

  test('a 500 whose body comes a byte a second is a timeout with that 500', async () => {
    expect(await attemptsAtHttp({ ...dribble, status: 500 })).toMatchObject(
      each({ ...failed500, errorCode: 'TIMEOUT', errorMessage: unfinished }),
    );
  });

  test('headers that never end are a timeout', async () => {
    const attempts = await attemptsAtRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      repeat(socket, 'x-a: b\r\n', 50);
    });
    expect(attempts).toMatchObject(each({ ...unanswered, errorCode: 'TIMEOUT', errorMessage: noResponse }));
  });

  test('a status line that comes a byte at a time is a timeout', async () => {
    expect(await attemptsAtRaw((socket) => repeat(socket, 'H', 60_000))).toMatchObject(
      each({
        ...unanswered,
        errorCode: 'TIMEOUT',
        errorMessage: noResponse,
      }),
    );
  });

  test('interim answers without end are a timeout', async () => {
    expect(await attemptsAtRaw((socket) => repeat(socket, 'HTTP/1.1 102 Processing\r\n\r\n', 20))).toMatchObject(
      each({
        ...unanswered,
        errorCode: 'TIMEOUT',
        errorMessage: noResponse,
      }),
    );
  });

  test('a receiver that accepts and never reads a large request is a timeout', async () => {
    await using receiver = await startRawReceiver((socket) => socket.pause());
    const data = { large: 'x'.repeat(200_000) };
    expect(await attemptsAt(receiver.url, data)).toMatchObject(
      each({ ...unanswered, errorCode: 'TIMEOUT', errorMessage: noResponse }),
    );
  });

  test('a receiver whose backlog is full is a timeout of the connection', async () => {
    await using receiver = await startFullReceiver();
    const errorMessage = `No connection within ${attemptTimeoutMs} ms.`;
    const expected = { ...unanswered, errorCode: 'TIMEOUT', errorMessage };
    const attempts = await attemptsAt(receiver.url);
    expect(attempts).toMatchObject(each(expected));
    for (const { timings } of attempts) {
      expect(timings).toEqual({ dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null });
    }
  });

  test('a receiver that accepts and never answers the TLS handshake is a timeout of the connection', async () => {
    await using receiver = await startRawReceiver((socket) => socket.resume());
    const errorMessage = `No connection within ${attemptTimeoutMs} ms.`;
    const url = receiver.url.replace('http:', 'https:');
    expect(await attemptsAt(url)).toMatchObject(each({ ...unanswered, errorCode: 'TIMEOUT', errorMessage }));
  });
});

describe.concurrent('receivers that send too much', () => {
  const endless: ReceiverAnswer = { endless: true, body: 'y'.repeat(65_536) };
  const bomb: ReceiverAnswer = {
    headers: { 'content-encoding': 'gzip' },
    body: gzipSync(Buffer.alloc(50 * 1024 * 1024, 'z')),
  };

  test('a 200 with a body without end is delivered', async () => {
    expect(await attemptsAtHttp(endless)).toMatchObject(
      each({ ...delivered, responseBody: 'y'.repeat(4096), errorMessage: tooLarge }),
    );
  });

  test('a 500 with a body without end says that it is too large', async () => {
    const errorCode = 'BODY_TOO_LARGE';
    const expected = { ...failed500, responseBody: 'y'.repeat(4096), errorCode, errorMessage: tooLarge };
    expect(await attemptsAtHttp({ ...endless, status: 500 })).toMatchObject(each(expected));
  });

  test('a 200 with 50 KB of gzip that would be 50 MB is delivered', async () => {
    expect(bomb.body?.length).toBeLessThan(60_000);
    expect(await attemptsAtHttp(bomb)).toMatchObject(
      each({ ...delivered, responseBody: 'z'.repeat(4096), errorMessage: tooLarge }),
    );
  });

  test('a 500 with 50 KB of gzip that would be 50 MB says that it is too large', async () => {
    const errorCode = 'BODY_TOO_LARGE';
    const expected = { ...failed500, responseBody: 'z'.repeat(4096), errorCode, errorMessage: tooLarge };
    expect(await attemptsAtHttp({ ...bomb, status: 500 })).toMatchObject(each(expected));
  });

  test('ten thousand response headers are more than is read', async () => {
    const headers = Array.from({ length: 10_000 }, (_, index) => `x-${index}: ${index}\r\n`).join('');
    const expected = { ...unanswered, errorCode: 'PROTOCOL', errorMessage: headTooLarge };
    expect(await attemptsAtRaw(`HTTP/1.1 200 OK\r\n${headers}content-length: 0\r\n\r\n`)).toMatchObject(each(expected));
  });

  test('of two thousand small response headers 32 are shown', async () => {
    const headers = Array.from({ length: 2000 }, (_, index) => `x-${index}: ${index}\r\n`).join('');
    const bytes = `HTTP/1.1 200 OK\r\n${headers}content-length: 0\r\n\r\n`;
    const attempts = await attemptsAtRaw(bytes);
    expect(attempts).toMatchObject(each({ ...delivered, errorMessage: null }));
    for (const { responseHeaders } of attempts) {
      expect(responseHeaders).toHaveLength(32);
      expect(responseHeaders[31]).toEqual({ name: 'x-31', value: '31' });
    }
  });

  test('a body longer than its content-length is what its content-length says', async () => {
    expect(await attemptsAtRaw('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more')).toMatchObject(
      each({ ...delivered, responseBody: 'ok' }),
    );
  });

  test('a 204 with a body is a 204', async () => {
    const expected = { ...delivered, responseStatus: 204, responseBody: '' };
    expect(await attemptsAtRaw('HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello')).toMatchObject(
      each(expected),
    );
  });
});

describe.concurrent('receivers that break off', () => {
  const broken: ReceiverAnswer = { reset: 'MID_BODY', headers: { 'content-length': '1000' }, body: 'part' };

  test('a 200 whose body is reset is delivered', async () => {
    expect(await attemptsAtHttp(broken)).toMatchObject(each({ ...delivered, errorMessage: wasReset }));
  });

  test('a 500 whose body is reset is a connection error with that 500', async () => {
    expect(await attemptsAtHttp({ ...broken, status: 500 })).toMatchObject(
      each({ ...failed500, errorCode: 'CONNECT', errorMessage: wasReset }),
    );
  });

  test('a reset without an answer is a connection error', async () => {
    expect(await attemptsAtHttp({ reset: 'BEFORE_HEAD' })).toMatchObject(
      each({ ...unanswered, errorCode: 'CONNECT', errorMessage: wasReset }),
    );
  });

  test('a connection closed without an answer is a connection error', async () => {
    const expected = { ...unanswered, errorCode: 'CONNECT', errorMessage: wasClosed };
    expect(await attemptsAtRaw((socket) => socket.end())).toMatchObject(each(expected));
  });

  test('a connection closed in the middle of the headers is a connection error', async () => {
    const expected = { ...unanswered, errorCode: 'CONNECT', errorMessage: wasClosed };
    expect(await attemptsAtRaw((socket) => socket.end('HTTP/1.1 200 OK\r\nx-a: '))).toMatchObject(each(expected));
  });

  test('a 200 shorter than its content-length is delivered, and a 500 is a connection error with that 500', async () => {
    const rest = '\r\ncontent-length: 10\r\n\r\nabc';
    const shown = { responseBody: 'abc', errorMessage: wasClosed };
    expect(await attemptsAtRaw((socket) => socket.end(`HTTP/1.1 200 OK${rest}`))).toMatchObject(
      each({ ...delivered, ...shown }),
    );
    const expected = { ...failed500, ...shown, errorCode: 'CONNECT' };
    expect(await attemptsAtRaw((socket) => socket.end(`HTTP/1.1 500 Oops${rest}`))).toMatchObject(each(expected));
  });

  test('a 200 with a bad chunk size is delivered, and a 500 is a protocol error with that 500', async () => {
    const rest = '\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n';
    const shown = { responseBody: 'ab', errorMessage: notHttp };
    expect(await attemptsAtRaw(`HTTP/1.1 200 OK${rest}`)).toMatchObject(each({ ...delivered, ...shown }));
    expect(await attemptsAtRaw(`HTTP/1.1 500 Oops${rest}`)).toMatchObject(
      each({ ...failed500, ...shown, errorCode: 'PROTOCOL' }),
    );
  });
});

describe.concurrent('receivers with manners of their own', () => {
  const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

  test.each([
    ['103 Early Hints', 'HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n'],
    ['102 Processing', 'HTTP/1.1 102 Processing\r\n\r\n'],
  ])('%s before the answer is passed over', async (_name, interim) => {
    const expected = { ...delivered, responseBody: 'ok', errorMessage: null };
    const attempts = await attemptsAtRaw(interim + ok);
    expect(attempts).toMatchObject(each(expected));
    for (const { responseHeaders } of attempts) {
      expect(responseHeaders).toEqual([{ name: 'content-length', value: '2' }]);
    }
  });

  test('100 Continue, which no request asks for, is a protocol error that says so', async () => {
    const errorMessage = 'The receiver answered 100 Continue, which was not asked for.';
    expect(await attemptsAtRaw(`HTTP/1.1 100 Continue\r\n\r\n${ok}`)).toMatchObject(
      each({ ...unanswered, errorCode: 'PROTOCOL', errorMessage }),
    );
  });

  test('101 Switching Protocols, which no request asks for, is a protocol error that says so', async () => {
    const errorMessage = 'The receiver answered 101 Switching Protocols, which was not asked for.';
    const bytes = 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n';
    expect(await attemptsAtRaw(bytes)).toMatchObject(each({ ...unanswered, errorCode: 'PROTOCOL', errorMessage }));
  });

  test('an HTTP/1.0 answer that ends with its connection is delivered', async () => {
    const expected = { ...delivered, responseBody: 'bye', errorMessage: null };
    expect(await attemptsAtRaw((socket) => socket.end('HTTP/1.0 200 OK\r\n\r\nbye'))).toMatchObject(each(expected));
  });

  test.each([
    ['no reason phrase', '200'],
    ['a reason phrase with NUL', '200 O\0K'],
  ])('a 200 with %s is delivered', async (_name, status) => {
    expect(await attemptsAtRaw(`HTTP/1.1 ${status}\r\ncontent-length: 2\r\n\r\nok`)).toMatchObject(
      each({ ...delivered, responseBody: 'ok' }),
    );
  });

  test('an answer that comes before a large request was read is taken', async () => {
    const data = { large: 'x'.repeat(200_000) };
    const attempts = await attemptsAtRaw((socket) => {
      socket.pause();
      socket.write('HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig');
    }, data);
    expect(attempts).toMatchObject(
      each({ outcome: 'FAILED', responseStatus: 413, responseBody: 'big', errorCode: null }),
    );
  });

  test('an answer that comes before the request is not taken for another’s', async () => {
    await using receiver = await startRawReceiver((socket) => {
      socket.resume();
      socket.write(ok);
    });
    expect(await attemptsAt(receiver.url)).toMatchObject(each({ ...delivered, responseBody: 'ok' }));
  });

  test('an answer that repeats headers that are given once is taken', async () => {
    const repeated = 'retry-after: 5\r\nretry-after: 7\r\nwebhook-delivery: none\r\nwebhook-delivery: none\r\n';
    const coding = 'content-encoding: identity\r\ncontent-encoding: identity\r\n';
    const rest = `\r\n${repeated}${coding}content-length: 2\r\n\r\nok`;
    expect(await attemptsAtRaw(`HTTP/1.1 200 OK${rest}`)).toMatchObject(each({ ...delivered, responseBody: 'ok' }));
    expect(await attemptsAtRaw(`HTTP/1.1 500 Oops${rest}`)).toMatchObject(each({ ...failed500, errorCode: null }));
  });

  test('a 304 fails', async () => {
    expect(await attemptsAtHttp({ status: 304, body: '' })).toMatchObject(
      each({ outcome: 'FAILED', responseStatus: 304, errorCode: null }),
    );
  });

  test('a 302 to a metadata address fails with that 302', async () => {
    const headers = { location: 'http://169.254.169.254/latest/meta-data' };
    const expected = { outcome: 'FAILED', responseStatus: 302, responseBody: 'moved', errorCode: null } as const;
    const attempts = await attemptsAtHttp({ status: 302, headers, body: 'moved' });
    expect(attempts).toMatchObject(each(expected));
    for (const attempt of attempts) {
      expect(attempt.responseHeaders).toContainEqual({ name: 'location', value: headers.location });
    }
  });
});

describe.concurrent('receivers that send no text', () => {
  test('a body with NUL, invalid UTF-8 and escape sequences is shown as text', async () => {
    const body = Buffer.from('a\0b\xff\xc3(\x1b[31mred\x9f', 'latin1');
    const responseBody = 'a\\u0000b\ufffd\ufffd(\\u001b[31mred\ufffd';
    expect(await attemptsAtHttp({ body })).toMatchObject(each({ ...delivered, responseBody, errorMessage: null }));
    expect(await attemptsAtHttp({ status: 500, body })).toMatchObject(
      each({ ...failed500, responseBody, errorCode: null }),
    );
  });

  test('a body cut in the middle of a character ends with the one before', async () => {
    const expected = { ...delivered, responseBody: `x${'€'.repeat(1365)}` };
    expect(await attemptsAtHttp({ body: `x${'€'.repeat(3000)}` })).toMatchObject(each(expected));
  });

  test('header values are read as Latin-1 and shown as text', async () => {
    const bytes =
      'HTTP/1.1 200 OK\r\nx-latin: caf\xe9 \xff\r\nx-utf8: \xe2\x82\xac\r\nx-tab: a\tb\r\ncontent-length: 0\r\n\r\n';
    const attempts = await attemptsAtRaw(bytes);
    expect(attempts).toMatchObject(each(delivered));
    for (const { responseHeaders } of attempts) {
      expect(responseHeaders).toEqual([
        { name: 'x-latin', value: 'café ÿ' },
        { name: 'x-utf8', value: 'â\\u0082¬' },
        { name: 'x-tab', value: 'a\tb' },
        { name: 'content-length', value: '0' },
      ]);
    }
  });

  test('two lengths are a protocol error', async () => {
    const errorMessage = 'The response body is not as long as its content-length says.';
    const bytes = 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy';
    expect(await attemptsAtRaw(bytes)).toMatchObject(each({ ...unanswered, errorCode: 'PROTOCOL', errorMessage }));
  });

  test.each([
    ['NUL in a header', 'HTTP/1.1 200 OK\r\nx-nul: a\0b\r\ncontent-length: 0\r\n\r\n'],
    ['another protocol', '220 mail.example ESMTP ready\r\n'],
    ['TLS', '\x15\x03\x01\x00\x02\x02\x46'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['a status below 100', 'HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n'],
  ])('%s is a protocol error', async (_name, bytes) => {
    expect(await attemptsAtRaw(bytes)).toMatchObject(
      each({ ...unanswered, errorCode: 'PROTOCOL', errorMessage: notHttp }),
    );
  });
});

describe.concurrent('TLS receivers', () => {
  test.each([
    ['alone', 'HTTP/1.1'],
    ['and HTTP/2', 'HTTP/2 and HTTP/1.1'],
  ] as const)('one with a certificate in order that offers HTTP/1.1 %s is delivered to', async (_name, protocols) => {
    const { attempts, httpVersions } = await attemptsAtTls({ protocols });
    expect(attempts).toMatchObject(each({ ...delivered, responseBody: 'ok', errorMessage: null }));
    expect(httpVersions).toHaveLength(webhookCount);
  });

  test.each([
    ['a certificate for another name', { certificate: otherNameCertificate }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['an expired certificate', { certificate: expiredCertificate }, 'CERT_HAS_EXPIRED'],
    ['a self-signed certificate', { certificate: selfSignedCertificate }, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
    ['HTTP/2 alone', { protocols: 'HTTP/2' }, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL'],
  ] satisfies [string, TlsReceiverOptions, string][])('one with %s is not sent to', async (_name, options, reason) => {
    const errorMessage = `The TLS handshake failed (${reason}).`;
    const { attempts, httpVersions } = await attemptsAtTls(options);
    expect(attempts).toMatchObject(each({ ...unanswered, errorCode: 'TLS', errorMessage }));
    expect(attempts.map(({ timings }) => timings.tlsMs)).toEqual(Array(webhookCount).fill(null));
    expect(httpVersions).toEqual([]);
  });
});

describe('after all of them', () => {
  test('a healthy receiver is delivered to at once', async () => {
    const attempts = await attemptsAtHttp({});
    expect(attempts).toMatchObject(each({ ...delivered, errorMessage: null }));
    expect(Math.max(...attempts.map(({ durationMs }) => durationMs))).toBeLessThan(healthyMs);
  });

  test('nothing was logged as our own error', () => {
    expect(posthorn.output()).not.toMatch(/"level":(?:50|60)/);
  });

  test.runIf(process.platform === 'linux')('the process has not grown by what it was sent', async () => {
    const { residentBytes, peakBytes } = await memoryOf(posthorn.pid);
    const growthBytes = peakBytes - memoryBefore.peakBytes;
    process.stdout.write(
      `memory before the zoo ${mebibytes(memoryBefore.residentBytes)} (at most ${mebibytes(memoryBefore.peakBytes)}), ` +
        `after it ${mebibytes(residentBytes)} (at most ${mebibytes(peakBytes)}, ${mebibytes(growthBytes)} more)\n`,
    );
    expect(growthBytes).toBeLessThan(memoryGrowthBytesMax);
  });
});
