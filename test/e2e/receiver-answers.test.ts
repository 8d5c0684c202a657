import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CreateWebhookDocument, WebhookDocument } from '../generated/graphql.ts';
import { createWebhook, emit } from '../support/e2e-calls.ts';
import {
  attemptsOf,
  attemptTimeoutMs,
  createReceiverStack,
  deliverTo,
  endOf,
  expectWellFormed,
  untilSettled,
} from '../support/e2e-attempts.ts';
import type { AttemptInFull, DeliveryInFull } from '../support/e2e-attempts.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { startOn } from '../support/e2e-stack.ts';
import { startRawReceiver, startReceiver } from '../support/receiver.ts';
import type { ReceiverAnswer } from '../support/receiver.ts';

// What each answer of a receiver means, by the contract's table, as the API shows it.

/** The wait of the webhooks that show what follows from a failure; its jitter is 20 %. */
const waitMs = 60_000;
const shortestWaitMs = 0.8 * waitMs;
const longestWaitMs = 1.2 * waitMs;
/** From an attempt's end until its record has been seen here. */
const recordedMs = 5000;
const twelveHoursMs = 12 * 3600 * 1000;

const forbiddenUrls = ['http://10.0.0.1/', 'http://169.254.169.254/latest/meta-data'];

const running = new AsyncDisposableStack();
let client: ApiClient;
/** Event types of webhooks made when their addresses were still allowed. */
let forbidden: string[];

beforeAll(async () => {
  const stack = running.use(await createReceiverStack());
  {
    const env = { ...stack.env, WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8,10.0.0.0/8,169.254.0.0/16' };
    await using before = await startOn({ ...stack, env });
    await using owner = createApiClient(before, before.apiKey);
    const made = forbiddenUrls.map(async (url) => await createWebhook(owner, `At ${url}`, { url, maxAttempts: 1 }));
    forbidden = (await Promise.all(made)).map(({ eventType }) => eventType);
  }
  const posthorn = running.use(await startOn(stack));
  client = running.use(createApiClient(posthorn, posthorn.apiKey));
});

afterAll(async () => await running.disposeAsync());

/** Sends to webhooks that retry after a minute, or not at all. */
async function fail(url: string): Promise<{ waiting: DeliveryInFull; last: DeliveryInFull; emittedAt: number }> {
  const emittedAt = Date.now();
  const limits = [{ maxAttempts: 2, retrySchedule: [waitMs / 1000] }, { maxAttempts: 1 }];
  const [waiting, last] = await deliverTo(client, url, limits);
  if (waiting === undefined || last === undefined) throw new Error('two webhooks have two deliveries');
  return { waiting, last, emittedAt };
}

/** How long after the end of its first attempt the next one is due, in milliseconds. */
function waitOf(delivery: DeliveryInFull): number {
  return Date.parse(delivery.nextAttemptAt ?? '') - endOf(attemptsOf(delivery)[0]);
}

/** The wait is as asked, but for the rounding of the attempt's duration and the time that its record took. */
function expectWait(ms: number, fromMs: number, toMs = fromMs): void {
  expect(ms).toBeGreaterThanOrEqual(fromMs - 2);
  expect(ms).toBeLessThanOrEqual(toMs + recordedMs);
}

/** A failure is retried by the schedule, and the same failure of a last attempt ends its delivery; gives the attempts. */
async function expectRetriedBySchedule(url: string): Promise<AttemptInFull[]> {
  const { waiting, last, emittedAt } = await fail(url);
  expect(waiting).toMatchObject({ status: 'RETRYING', attemptCount: 1, failureReason: null, finishedAt: null });
  expectWait(waitOf(waiting), shortestWaitMs, longestWaitMs);
  expectExhausted(last, 1);
  const attempts = [...attemptsOf(waiting), ...attemptsOf(last)];
  expect(attempts).toHaveLength(2);
  for (const attempt of attempts) {
    expect(attempt).toMatchObject({ number: 1, outcome: 'FAILED', trigger: 'AUTOMATIC' });
    expectWellFormed(attempt, emittedAt);
  }
  return attempts;
}

function expectExhausted(delivery: DeliveryInFull | undefined, attemptCount: number): void {
  expect(delivery).toMatchObject({
    status: 'FAILED',
    attemptCount,
    failureReason: 'EXHAUSTED',
    nextAttemptAt: null,
    finishedAt: expect.any(String),
  });
}

/** The only attempt at a delivery that has ended, which is well-formed. */
function onlyAttempt(delivery: DeliveryInFull | undefined, emittedAt: number): AttemptInFull | undefined {
  const attempts = attemptsOf(delivery);
  expect(attempts).toHaveLength(1);
  expect(delivery).toMatchObject({ attemptCount: 1, nextAttemptAt: null, finishedAt: expect.any(String) });
  expectWellFormed(attempts[0], emittedAt);
  return attempts[0];
}

/** Sends once and gives the delivery, which has failed without another try. */
async function expectStopped(answer: ReceiverAnswer, failureReason: string): Promise<DeliveryInFull> {
  await using receiver = await startReceiver(() => answer);
  const emittedAt = Date.now();
  const [delivery] = await deliverTo(client, receiver.url, [{}]);
  if (delivery === undefined) throw new Error('there is no delivery');
  expect(delivery).toMatchObject({ status: 'FAILED', failureReason, maxAttempts: 6 });
  expect(onlyAttempt(delivery, emittedAt)).toMatchObject({ responseStatus: answer.status, errorCode: null });
  expect(receiver.requests).toHaveLength(1);
  return delivery;
}

async function webhookOf(delivery: DeliveryInFull) {
  return (await client.run(WebhookDocument, { id: delivery.webhook.id })).webhook;
}

const disable = { 'webhook-delivery': 'disable' };

describe.concurrent('an answer that counts', () => {
  test.each([
    ['a 200', { status: 200, body: 'ok' }, { responseBody: 'ok', errorMessage: null }],
    ['a 201', { status: 201, body: 'made' }, { responseBody: 'made', errorMessage: null }],
    ['a 204', { status: 204, body: '' }, { responseBody: '', errorMessage: null }],
    ['a 299', { status: 299 }, { errorMessage: null }],
    [
      'a 200 whose body is broken off',
      { status: 200, headers: { 'content-length': '1000' }, body: 'part', reset: 'MID_BODY' },
      { errorMessage: 'The connection was reset before the response was complete.' },
    ],
    [
      'a 202 whose body does not end in time',
      { status: 202, body: 'slow'.repeat(100), drip: { everyMs: 250 } },
      {
        responseBody: expect.stringMatching(/^slow/),
        errorMessage: `The response body did not end within ${attemptTimeoutMs} ms.`,
      },
    ],
    [
      'a 200 whose body is too large',
      { status: 200, body: 'large'.repeat(100_000) },
      { errorMessage: 'The response body is larger than 64 KiB; the rest was not read.' },
    ],
  ] satisfies [string, ReceiverAnswer, object][])('%s delivers', async (_name, answer, shown) => {
    await using receiver = await startReceiver(() => answer);
    const emittedAt = Date.now();
    const [delivery] = await deliverTo(client, receiver.url, [{}]);
    expect(delivery).toMatchObject({ status: 'DELIVERED', failureReason: null });
    const attempt = onlyAttempt(delivery, emittedAt);
    expect(attempt).toMatchObject({ outcome: 'SUCCEEDED', responseStatus: answer.status, errorCode: null, ...shown });
    expect(receiver.requests).toHaveLength(1);
  });
});

describe.concurrent('an answer that stops', () => {
  test.each([
    ['a 410', { status: 410 }, 'GONE'],
    ['a 410 with Retry-After', { status: 410, headers: { 'retry-after': '5' } }, 'GONE'],
    ['a 200 with `webhook-delivery: disable`', { status: 200, headers: disable }, 'DISABLED_BY_RECEIVER'],
    ['a 500 with `webhook-delivery: disable`', { status: 500, headers: disable }, 'DISABLED_BY_RECEIVER'],
  ] as const)('%s fails the delivery at once and disables the webhook', async (_name, answer, reason) => {
    const delivery = await expectStopped(answer, reason);
    const webhook = await untilFound('the webhook to be disabled', async () => {
      const found = await webhookOf(delivery);
      return found?.status === 'DISABLED' ? found : null;
    });
    expect(webhook.statusReason).toBe(reason);
  });

  test.each([200, 503])('a %i with `webhook-delivery: abort-message` ends this delivery alone', async (status) => {
    const headers = { 'Webhook-Delivery': 'Abort-Message', 'retry-after': '5' };
    const delivery = await expectStopped({ status, headers }, 'ABORTED_BY_RECEIVER');
    expect((await webhookOf(delivery))?.status).not.toBe('DISABLED');
  });
});

describe.concurrent('an answer that asks to wait', () => {
  test.each([
    [429, '120', 120_000],
    [503, '3600', 3_600_000],
    [429, '999999', twelveHoursMs],
    [503, '99999999999999999999', twelveHoursMs],
  ])('a %i with `Retry-After: %s` is retried after %i ms', async (status, retryAfter, askedMs) => {
    await using receiver = await startReceiver(() => ({ status, headers: { 'retry-after': retryAfter } }));
    const { waiting, last } = await fail(receiver.url);
    expectWait(waitOf(waiting), askedMs);
    expect(last.failureReason).toBe('EXHAUSTED');
  });

  test('a 503 with two Retry-After headers is retried after the first', async () => {
    await using receiver = await startReceiver(() => ({ status: 503, headers: { 'retry-after': ['120', '240'] } }));
    const { waiting, last } = await fail(receiver.url);
    expectWait(waitOf(waiting), 120_000);
    expect(last.failureReason).toBe('EXHAUSTED');
  });

  test.each([429, 503])('a %i with an HTTP date is retried then', async (status) => {
    const at = new Date(Math.ceil(Date.now() / 1000) * 1000 + 600_000);
    await using receiver = await startReceiver(() => ({ status, headers: { 'retry-after': at.toUTCString() } }));
    const { waiting, last } = await fail(receiver.url);
    expect(Date.parse(waiting.nextAttemptAt ?? '')).toBeGreaterThanOrEqual(at.getTime() - 2);
    expect(Date.parse(waiting.nextAttemptAt ?? '')).toBeLessThanOrEqual(at.getTime() + recordedMs);
    expectExhausted(last, 1);
  });

  test('a 503 with an HTTP date of next year is retried after 12 hours', async () => {
    const at = new Date(Date.now() + 366 * 24 * 3600 * 1000);
    await using receiver = await startReceiver(() => ({ status: 503, headers: { 'retry-after': at.toUTCString() } }));
    const { waiting, last } = await fail(receiver.url);
    expectWait(waitOf(waiting), twelveHoursMs);
    expect(last.failureReason).toBe('EXHAUSTED');
  });

  test.each([
    [429, 'less than the schedule’s own wait', '1'],
    [503, 'a date that has passed', 'Wed, 21 Oct 2015 07:28:00 GMT'],
    [429, 'no time at all', 'soon'],
    [503, 'a negative time', '-5'],
    [500, 'an hour, which only 429 and 503 may', '3600'],
    [404, 'an hour, which only 429 and 503 may', '3600'],
    [302, 'an hour, which only 429 and 503 may', '3600'],
  ])('a %i whose Retry-After says %s is retried by the schedule', async (status, _what, retryAfter) => {
    await using receiver = await startReceiver(() => ({ status, headers: { 'retry-after': retryAfter } }));
    for (const { responseStatus } of await expectRetriedBySchedule(receiver.url)) expect(responseStatus).toBe(status);
  });
});

describe.concurrent('an answer that does not count', () => {
  test.each([304, 400, 401, 404, 418, 429, 500, 502, 503, 504, 999])(
    'a %i is retried by the schedule',
    async (status) => {
      await using receiver = await startReceiver(() => ({ status, body: status === 304 ? '' : `the ${status}` }));
      for (const attempt of await expectRetriedBySchedule(receiver.url)) {
        const responseBody = status === 304 ? '' : `the ${status}`;
        expect(attempt).toMatchObject({ responseStatus: status, responseBody, errorCode: null, errorMessage: null });
      }
      expect(receiver.requests).toHaveLength(2);
    },
  );

  test.each([301, 302, 303, 307, 308])('a %i is retried by the schedule, and not followed', async (status) => {
    await using target = await startReceiver();
    const headers = { location: `${target.url}/elsewhere` };
    await using receiver = await startReceiver(() => ({ status, headers }));
    for (const attempt of await expectRetriedBySchedule(receiver.url)) {
      expect(attempt).toMatchObject({ responseStatus: status, errorCode: null });
      expect(attempt.responseHeaders).toContainEqual({ name: 'location', value: headers.location });
    }
    expect(receiver.requests).toHaveLength(2);
    expect(target.connectionCount()).toBe(0);
  });

  test('a 302 to a metadata address shows no more than its own head', async () => {
    const headers = { location: 'http://169.254.169.254/latest/meta-data' };
    await using receiver = await startReceiver(() => ({ status: 302, headers, body: 'moved' }));
    for (const attempt of await expectRetriedBySchedule(receiver.url)) {
      expect(attempt).toMatchObject({ responseStatus: 302, responseBody: 'moved', errorCode: null });
    }
    expect(receiver.requests).toHaveLength(2);
  });
});

describe.concurrent('no answer', () => {
  const noAnswer = { responseStatus: null, responseBody: null, responseHeaders: [] };

  test('a receiver that never answers is a timeout, retried by the schedule', async () => {
    await using receiver = await startReceiver(() => ({ hang: true }));
    for (const attempt of await expectRetriedBySchedule(receiver.url)) {
      const errorMessage = `No response within ${attemptTimeoutMs} ms.`;
      expect(attempt).toMatchObject({ ...noAnswer, errorCode: 'TIMEOUT', errorMessage });
      expect(attempt.durationMs).toBeGreaterThanOrEqual(attemptTimeoutMs);
      expect(attempt.timings).toMatchObject({ connectMs: expect.any(Number), firstByteMs: null });
    }
  });

  test('a name that does not exist is a DNS error, retried by the schedule', async () => {
    const label = 'x'.repeat(63);
    for (const attempt of await expectRetriedBySchedule(`http://${label}.invalid/`)) {
      expect(attempt).toMatchObject({ ...noAnswer, errorCode: 'DNS' });
      expect(attempt.errorMessage).toContain(`${label}.invalid could not be resolved`);
    }
  });

  test('a receiver that speaks no TLS is a TLS error, retried by the schedule', async () => {
    await using receiver = await startReceiver();
    for (const attempt of await expectRetriedBySchedule(receiver.url.replace('http:', 'https:'))) {
      expect(attempt).toMatchObject({ ...noAnswer, errorCode: 'TLS' });
      expect(attempt.errorMessage).toMatch(/^The TLS handshake failed/);
    }
    expect(receiver.requests).toEqual([]);
  });

  test('a refused connection is a connection error, retried by the schedule', async () => {
    const receiver = await startReceiver();
    await receiver[Symbol.asyncDispose]();
    for (const attempt of await expectRetriedBySchedule(receiver.url)) {
      const errorMessage = 'The receiver refused the connection.';
      expect(attempt).toMatchObject({ ...noAnswer, errorCode: 'CONNECT', errorMessage });
    }
  });

  test('what is not HTTP is a protocol error, retried by the schedule', async () => {
    const banner = 'SSH-2.0-OpenSSH_9.6\r\n';
    await using receiver = await startRawReceiver((socket) => socket.once('data', () => socket.end(banner)));
    for (const attempt of await expectRetriedBySchedule(receiver.url)) {
      const errorMessage = 'The response is not valid HTTP/1.1.';
      expect(attempt).toMatchObject({ ...noAnswer, errorCode: 'PROTOCOL', errorMessage });
    }
  });

  test.each(forbiddenUrls.map((url, index) => [url, index] as const))(
    '%s, allowed when its webhook was made and no longer, is blocked',
    async (url, index) => {
      const emittedAt = Date.now();
      const { eventId } = await emit(client, forbidden[index] ?? '');
      const [delivery] = await untilSettled(client, eventId, true);
      expectExhausted(delivery, 1);
      const attempt = onlyAttempt(delivery, emittedAt);
      expect(attempt).toMatchObject({ ...noAnswer, outcome: 'FAILED', errorCode: 'BLOCKED_ADDRESS', durationMs: 0 });
      expect(attempt?.errorMessage).toContain(`${new URL(url).hostname} is, or resolves to, an address`);
    },
  );

  test.each([...forbiddenUrls, 'http://[::ffff:10.0.0.1]/', 'http://0xa9fea9fe/', 'https://[fd00:ec2::254]/'])(
    '%s is refused at creation',
    async (url) => {
      const { createWebhook: refused } = await client.run(CreateWebhookDocument, { input: { name: 'Inside', url } });
      expect(refused).toMatchObject({
        webhook: null,
        userErrors: [{ field: ['input', 'url'], code: 'BLOCKED_ADDRESS' }],
      });
    },
  );
});

test('failures of different kinds are tries of one delivery, and the last of them ends it as exhausted', async () => {
  const answers: ReceiverAnswer[] = [{ hang: true }, { reset: 'BEFORE_HEAD' }, { status: 502 }];
  await using receiver = await startReceiver((_request, index) => answers[index] ?? {});
  const emittedAt = Date.now();
  const [delivery] = await deliverTo(client, receiver.url, [{ maxAttempts: 3 }], { untilEnd: true });
  expectExhausted(delivery, 3);
  expect(attemptsOf(delivery)).toMatchObject([
    { number: 1, outcome: 'FAILED', responseStatus: null, errorCode: 'TIMEOUT' },
    { number: 2, outcome: 'FAILED', responseStatus: null, errorCode: 'CONNECT' },
    { number: 3, outcome: 'FAILED', responseStatus: 502, errorCode: null },
  ]);
  for (const attempt of attemptsOf(delivery)) expectWellFormed(attempt, emittedAt);
  expect(receiver.requests).toHaveLength(3);
});
