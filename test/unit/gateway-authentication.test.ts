import { expect, test } from 'vitest';
import type { Caller } from '../../schema/context.ts';
import { createAuthentication } from '../../src/gateway/authentication.ts';
import { clientOf, createFailedAttempts } from '../../src/gateway/failed-attempts.ts';
import { createLookupLine } from '../../src/gateway/lookup-line.ts';
import { newId } from '../../src/store/new-id.ts';
import { Secret } from '../../src/secret.ts';

const limits = { failedAuthenticationsMax: 3, failedAuthenticationMs: 60_000 };
const holder: Caller = {
  kind: 'API_KEY',
  apiKeyId: newId('apiKey'),
  projectId: newId('project'),
  permissions: new Set(),
  expiresAt: null,
};

function create(valid: readonly string[]) {
  const keys = new Set(valid);
  const asked: string[] = [];
  const authentication = createAuthentication({
    adminKey: new Secret('the admin key'),
    limits,
    authenticate: async (key) => {
      asked.push(key);
      if (key === 'down') throw new Error('the database is down');
      return keys.has(key) ? holder : null;
    },
  });
  const tryKey = async (key: string, address = '203.0.113.1') =>
    (await authentication({ kind: 'key', key }, address)).kind;
  return { authentication, tryKey, asked, keys };
}

/** A text in the shape of a key. */
const keyOf = (index: number): string => `phk_${String(index).padStart(43, '0')}`;

/** One whose look-ups can be held, and are counted. */
function createHeld(valid: readonly string[]) {
  const keys = new Set(valid);
  let held = Promise.withResolvers<void>();
  held.resolve();
  let underWay = 0;
  const lookups = {
    made: 0,
    atOnceMax: 0,
    hold: () => void (held = Promise.withResolvers<void>()),
    release: () => held.resolve(),
  };
  const authentication = createAuthentication({
    adminKey: null,
    limits,
    authenticate: async (key) => {
      lookups.made += 1;
      underWay += 1;
      lookups.atOnceMax = Math.max(lookups.atOnceMax, underWay);
      await held.promise;
      underWay -= 1;
      return keys.has(key) ? holder : null;
    },
  });
  return { authentication, keys, lookups };
}

test('who fails too often from one address is not looked up any more, and other addresses are', async () => {
  const { tryKey, asked } = create([]);
  for (const key of ['a', 'b', 'c']) expect(await tryKey(key)).toBe('refused');
  expect(await tryKey('d')).toBe('limited');
  expect(asked).toEqual(['a', 'b', 'c']);
  expect(await tryKey('d', '203.0.113.2')).toBe('refused');
});

test('a thousand tries at the same time are no more than the limit one after the other', async () => {
  const { tryKey } = create([]);
  const kinds = await Promise.all(Array.from({ length: 1_000 }, async (_, index) => await tryKey(`k${index}`)));
  expect(kinds.filter((kind) => kind === 'refused')).toHaveLength(3);
});

test('what was good here before passes beside the failures of others, for as long as it is good', async () => {
  const { tryKey, keys } = create(['good', 'new']);
  expect(await tryKey('good')).toBe('accepted');
  for (const key of ['a', 'b', 'c', 'd']) await tryKey(key);
  expect(await tryKey('good')).toBe('accepted');
  expect(await tryKey('new')).toBe('limited'); // it does not have the shape of a key
  keys.delete('good');
  expect(await tryKey('good')).toBe('limited');
});

test('a key that is new here passes beside any number of failures, and only a bad one is told to wait', async () => {
  const { tryKey, asked } = create([keyOf(0)]);
  for (let index = 1; index <= 20; index += 1) await tryKey(keyOf(index));
  expect(await tryKey(keyOf(0))).toBe('accepted');
  expect(await tryKey(keyOf(1))).toBe('limited');
  expect(await tryKey('phk_short')).toBe('limited');
  expect(asked).not.toContain('phk_short');
});

test('a flood of bad keys is looked up a few at a time, and what does not fit into the line is told to wait', async () => {
  const { authentication, keys, lookups } = createHeld([keyOf(0)]);
  for (const key of ['a', 'b', 'c']) await authentication({ kind: 'key', key }, '203.0.113.1');
  const before = lookups.made;
  lookups.hold();
  const flood = Array.from({ length: 2_000 }, async (_, index) => {
    return await authentication({ kind: 'key', key: keyOf(index + 1) }, '203.0.113.1');
  });
  const first = await Promise.race(flood);
  expect([first.kind, lookups.made - before]).toEqual(['limited', 4]);
  lookups.release();
  expect(new Set((await Promise.all(flood)).map(({ kind }) => kind))).toEqual(new Set(['limited']));
  expect(lookups.made - before).toBe(1_004);
  expect(lookups.atOnceMax).toBe(4);
  expect(keys.size).toBe(1);
  expect(await authentication({ kind: 'key', key: keyOf(0) }, '203.0.113.1')).toMatchObject({ kind: 'accepted' });
});

test('who waits too long for a look-up is told to wait', async () => {
  const line = createLookupLine({ atOnceMax: 1, waitingMax: 10, waitMsMax: 20 });
  const { promise, resolve } = Promise.withResolvers<string>();
  const first = line(async () => await promise);
  expect(await line(async () => 'second')).toBeNull();
  resolve('first');
  expect(await first).toBe('first');
  expect(await line(async () => 'third')).toBe('third');
});

test('a look-up that rejects leaves its place to the next', async () => {
  const line = createLookupLine({ atOnceMax: 1, waitingMax: 10, waitMsMax: 5_000 });
  const down = line(async () => await Promise.reject(new Error('the database is down')));
  const next = line(async () => 'found');
  await expect(down).rejects.toThrow('the database is down');
  expect(await next).toBe('found');
});

test('a good access token passes beside the failures of others, a bad one does not', async () => {
  const { tryKey } = create(['a.good.token']);
  for (const key of ['a', 'b', 'c', 'd']) await tryKey(key);
  expect(await tryKey('a.good.token')).toBe('accepted');
  expect(await tryKey('a.bad.token')).toBe('limited');
});

test('good keys and failing look-ups cost nothing of what may fail', async () => {
  const { tryKey } = create(['good']);
  for (let time = 0; time < 10; time += 1) {
    expect(await tryKey('good')).toBe('accepted');
    await expect(tryKey('down')).rejects.toThrow('the database is down');
  }
  expect(await tryKey('a')).toBe('refused');
});

test('the admin key is the administrator, and what only resembles it is counted as a failure', async () => {
  const { authentication } = create([]);
  const tryAdmin = async (key: string) => await authentication({ kind: 'admin', key }, '::1');
  expect(await tryAdmin('the admin key')).toEqual({ kind: 'accepted', caller: { kind: 'ADMINISTRATOR' } });
  for (const key of ['', 'the admin ke', 'the admin key ']) {
    expect(await tryAdmin(key)).toEqual({ kind: 'refused', message: 'This admin key is not valid.' });
  }
  expect(await tryAdmin('The admin key')).toMatchObject({ kind: 'limited', retryAfterSeconds: 60 });
  expect(await tryAdmin('the admin key')).toMatchObject({ kind: 'accepted' });
});

test('where there is no admin key, none is right', async () => {
  const authentication = createAuthentication({ adminKey: null, limits, authenticate: async () => null });
  for (const key of ['', 'null', 'undefined']) {
    expect(await authentication({ kind: 'admin', key }, '')).toMatchObject({ kind: 'refused' });
  }
});

test('good keys that are new pass beside one another, however many come at the same time', async () => {
  const valid = Array.from({ length: 200 }, (_, index) => `key ${index}`);
  const { tryKey } = create(valid);
  const kinds = await Promise.all(valid.map(async (key) => await tryKey(key)));
  expect(new Set(kinds)).toEqual(new Set(['accepted']));
});

test('good and bad keys that come at the same time are told apart until too many are bad', async () => {
  const { tryKey } = create(['good 1', 'good 2']);
  const kinds = await Promise.all(['bad 1', 'good 1', 'bad 2', 'good 2'].map(async (key) => await tryKey(key)));
  expect(kinds).toEqual(['refused', 'accepted', 'refused', 'accepted']);
});

test('one more may fail after each interval', () => {
  let nowMs = 0;
  const failures = createFailedAttempts({ failedAuthenticationsMax: 2, failedAuthenticationMs: 1_000 }, () => nowMs);
  expect([failures.fail('a'), failures.fail('a'), failures.fail('a')]).toEqual([0, 0, 1_000]);
  nowMs = 999;
  expect(failures.fail('a')).toBe(1);
  nowMs = 1_000;
  expect([failures.fail('a'), failures.fail('a')]).toEqual([0, 1_000]);
});

test('clients are remembered up to a number, the latest of them', () => {
  const failures = createFailedAttempts({ failedAuthenticationsMax: 1, failedAuthenticationMs: 60_000 }, () => 0);
  for (let index = 0; index < 20_000; index += 1) failures.fail(`client ${index}`);
  expect(failures.fail('client 19999')).toBe(60_000);
  expect(failures.fail('client 0')).toBe(0);
});

test.each([
  ['203.0.113.9', '203.0.113.9'],
  ['::ffff:203.0.113.9', '203.0.113.9'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:db8:1:2:aaaa::1', '2001:db8:1:2'],
  ['2001:db8::1', '2001:db8:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
  ['::1', '0:0:0:0'],
  ['', ''],
])('the client at %s is %s', (address, client) => {
  expect(clientOf(address)).toBe(client);
});
