import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { startTestGateway, until } from '../support/gateway-fixture.ts';
import type { Administration, SchemaContext } from '../../schema/context.ts';
import type { GatewayOptions } from '../../src/gateway/gateway.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

const right = 'Access the admin key';
const counts = { eventCount: 1, deliveryCount: 2, attemptCount: 3, recoveryCount: 4, auditEntryCount: 5 };

/** What was asked of the administration, in order. */
let asked: unknown[];
let administration: Administration;
let gateway: GatewayFixture;

function createContext(caller: SchemaContext['caller'], requestId: string): SchemaContext {
  return { caller, requestId, administration } as SchemaContext;
}

async function start(options: Partial<GatewayOptions> = {}): Promise<GatewayFixture> {
  return await startTestGateway({ failedAuthenticationsMax: 5 }, { createContext, ...options });
}

beforeEach(async () => {
  asked = [];
  administration = {
    retentionDays: 45,
    sweep: async () => asked.push('sweep'),
    retryStuck: async (limit) => asked.push(['retryStuck', limit]) && 7,
    cleanup: async (days) => (asked.push(['cleanup', days]), { ...counts, finished: true }),
  };
  gateway = await start();
});
afterEach(async () => await gateway[Symbol.asyncDispose]());

interface Called {
  status: number;
  headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- a test knows the shape that it asked for
  body: any;
}

async function call(path: string, authorization: string | null = right, init: RequestInit = {}): Promise<Called> {
  const headers = authorization === null ? {} : { authorization };
  const response = await fetch(`${gateway.url}/admin/webhooks/${path}`, { method: 'POST', headers, ...init });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

const messageOf = ({ body }: Called): string => body.errors[0].message;
const adminLines = () => gateway.logs().filter(({ msg }) => msg === 'admin call');

test('each call does what it says, and answers with counts', async () => {
  expect(await call('cleanup?days=30')).toMatchObject({ status: 200, body: { days: 30, ...counts, finished: true } });
  expect(await call('retry-stuck?limit=10')).toMatchObject({ status: 200, body: { limit: 10, enqueuedCount: 7 } });
  expect(await call('sweep')).toMatchObject({ status: 200, body: { enqueuedCount: 3 } });
  expect(asked).toEqual([['cleanup', 30], ['retryStuck', 10], 'sweep']);
});

test('what is not said is as the deployment is set', async () => {
  await call('cleanup');
  await call('retry-stuck');
  expect(asked).toEqual([
    ['cleanup', 45],
    ['retryStuck', 10_000],
  ]);
});

test('a deployment that keeps history for ever has to be told how old', async () => {
  administration.retentionDays = null;
  const answer = await call('cleanup');
  expect([answer.status, messageOf(answer)]).toEqual([400, 'days must be given: history is kept for ever here.']);
  expect((await call('cleanup?days=1')).status).toBe(200);
  expect(asked).toEqual([['cleanup', 1]]);
});

test.each([
  ['cleanup?days=1', ['cleanup', 1]],
  ['cleanup?days=3650', ['cleanup', 3_650]],
  ['cleanup?days=007', ['cleanup', 7]],
  ['retry-stuck?limit=1', ['retryStuck', 1]],
  ['retry-stuck?limit=10000', ['retryStuck', 10_000]],
])('%s is taken', async (path, made) => {
  expect((await call(path)).status).toBe(200);
  expect(asked).toEqual([made]);
});

test.each([
  ['cleanup?days=0', 'days must be a whole number from 1 to 3650, not "0".'],
  ['cleanup?days=3651', 'days must be a whole number from 1 to 3650, not "3651".'],
  ['cleanup?days=-1', 'days must be a whole number from 1 to 3650, not "-1".'],
  ['cleanup?days=1.5', 'days must be a whole number from 1 to 3650, not "1.5".'],
  ['cleanup?days=1e2', 'days must be a whole number from 1 to 3650, not "1e2".'],
  ['cleanup?days=', 'days must be a whole number from 1 to 3650, not "".'],
  ['cleanup?days=%2030', 'days must be a whole number from 1 to 3650, not " 30".'],
  ['cleanup?days=thirty', 'days must be a whole number from 1 to 3650, not "thirty".'],
  ['cleanup?days=99999999999', 'days must be a whole number from 1 to 3650, not "99999999999".'],
  ['cleanup?days=30&days=1', 'days must be given once, not 2 times.'],
  ['cleanup?day=30', 'There is no parameter "day": this takes only the parameter "days".'],
  ['cleanup?days=30&x=1', 'There is no parameter "x": this takes only the parameter "days".'],
  ['retry-stuck?limit=0', 'limit must be a whole number from 1 to 10000, not "0".'],
  ['retry-stuck?limit=10001', 'limit must be a whole number from 1 to 10000, not "10001".'],
  ['sweep?limit=1', 'There is no parameter "limit": this takes no parameters.'],
])('%s is refused with the parameter and its value, and nothing is done', async (path, message) => {
  const answer = await call(path);
  expect([answer.status, messageOf(answer)]).toEqual([400, message]);
  expect(asked).toEqual([]);
});

test('what stands in a body would be overlooked, so there may be none', async () => {
  const answer = await call('cleanup', right, { body: 'days=90' });
  expect([answer.status, messageOf(answer)]).toEqual([
    400,
    'This takes no body: what it is to do stands in the query string.',
  ]);
  expect(asked).toEqual([]);
});

test.each([
  ['nothing', null, 401, 'UNAUTHENTICATED'],
  ['a wrong admin key', 'Access the wrong key', 401, 'UNAUTHENTICATED'],
  ['the admin key by another scheme', 'Bearer the admin key', 401, 'UNAUTHENTICATED'],
  ['a project’s key', 'Bearer good', 403, 'FORBIDDEN'],
])('who sends %s is refused', async (_title, authorization, status, code) => {
  for (const path of ['cleanup?days=30', 'retry-stuck', 'sweep']) {
    const answer = await call(path, authorization);
    expect([answer.status, answer.body.errors[0].extensions.code]).toEqual([status, code]);
    expect(answer.headers.get('www-authenticate')).toBe(status === 401 ? 'Access' : null);
  }
  expect(asked).toEqual([]);
});

test('wrong keys are limited as everywhere, and the right one passes all the same', async () => {
  const answers: Called[] = [];
  for (let tryNumber = 1; tryNumber <= 6; tryNumber += 1) answers.push(await call('sweep', 'Access wrong'));
  expect(answers.map(({ status }) => status)).toEqual([401, 401, 401, 401, 401, 429]);
  expect(Number(answers[5]?.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await call('sweep')).status).toBe(200);
});

test('without an admin key there is no administration', async () => {
  await using without = await start({ adminKey: null });
  const response = await fetch(`${without.url}/admin/webhooks/sweep`, {
    method: 'POST',
    headers: { authorization: right },
  });
  expect(response.status).toBe(404);
  expect(await response.text()).toContain('POSTHORN_ADMIN_KEY is not set');
  expect(asked).toEqual([]);
});

test.each(['GET', 'PUT', 'DELETE', 'OPTIONS'])('%s is refused, and told what is allowed', async (method) => {
  const answer = await call('cleanup?days=30', right, { method });
  expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST']);
  expect(asked).toEqual([]);
});

test('a failure is 503 with the request’s id; the log alone says why', async () => {
  administration.cleanup = async () => {
    throw new Error('a step of the cleanup failed', { cause: new Error('password=hunter2') });
  };
  const answer = await call('cleanup', right, { headers: { authorization: right, 'x-request-id': 'cron-1' } });
  expect(answer).toMatchObject({
    status: 503,
    body: { errors: [{ extensions: { code: 'UNAVAILABLE', requestId: 'cron-1' } }] },
  });
  expect(JSON.stringify(answer.body)).not.toContain('hunter2');
  const [line, ...others] = adminLines();
  expect(line).toMatchObject({ status: 503, requestId: 'cron-1', err: { message: expect.stringContaining('a step') } });
  expect(others).toEqual([]);
});

test('each call writes one line, without credentials', async () => {
  await call('cleanup?days=30');
  await call('cleanup?days=0');
  await call('sweep', 'Access the wrong key');
  expect(adminLines()).toMatchObject([
    { path: '/admin/webhooks/cleanup', status: 200, days: 30, deliveryCount: 2, finished: true },
    { path: '/admin/webhooks/cleanup', status: 400, refusal: expect.stringContaining('not "0"') },
    { path: '/admin/webhooks/sweep', status: 401 },
  ]);
  expect(JSON.stringify(gateway.logs())).not.toMatch(/the (admin|wrong) key/);
});

/** A cleanup that goes on until it is told to stop. */
function cleanupUntilStopped(): void {
  administration.cleanup = async (_days, signal) => {
    asked.push('started');
    if (!signal.aborted) await once(signal, 'abort');
    asked.push('stopped');
    return { ...counts, finished: false };
  };
}

test('a cleanup whose caller has gone stops', async () => {
  cleanupUntilStopped();
  const request = httpRequest(`${gateway.url}/admin/webhooks/cleanup`, {
    method: 'POST',
    headers: { authorization: right },
  });
  request.on('error', () => undefined);
  request.end();
  await until(() => asked.length === 1);
  request.destroy();
  await vi.waitFor(() => expect(asked).toEqual(['started', 'stopped']), { timeout: 5_000 });
});

test('a gateway that stops answers a cleanup with how far it came', async () => {
  cleanupUntilStopped();
  const answering = call('cleanup');
  await until(() => asked.length === 1);
  await gateway[Symbol.asyncDispose]();
  expect(await answering).toMatchObject({ status: 200, body: { ...counts, finished: false } });
});
