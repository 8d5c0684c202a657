import type { LookupAddress } from 'node:dns';
import { describe, expect, test } from 'vitest';
import { parseCidrs } from '../../src/domain/address-policy.ts';
import { blockedMessage } from '../../src/domain/webhook-url.ts';
import { createAddressResolver } from '../../worker/egress-addresses.ts';
import { createHostCheck, hostChecksMax } from '../../worker/egress-host-check.ts';
import { createLookup, type Lookup } from '../../worker/egress-lookup.ts';
import { createSender } from '../../worker/send.ts';
import { addressesOf } from '../support/addresses.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { startListener } from '../support/listener.ts';
import { startNameServer } from '../support/name-server.ts';

function hostCheck(lookup: Lookup, limitMs?: number, allowed: string[] = []) {
  return createHostCheck(createAddressResolver(parseCidrs(allowed), lookup), limitMs);
}

function answering(...texts: string[]): Lookup {
  return async () => addressesOf(texts);
}

/** Sends to a port of the name with the lookup, and gives the code and the message of what came of it. */
async function sendTo(host: string, port: number, lookup: Lookup) {
  await using sender = createSender({
    brand: 'posthorn',
    version: '1',
    attemptTimeoutMs: 3000,
    allowedCidrs: ['127.0.0.2/32'],
    lookup,
  });
  const { errorCode, errorMessage } = await sender.send(
    dispatchTo(`http://${host}:${port}/`),
    new AbortController().signal,
  );
  return { errorCode, errorMessage };
}

describe('the check of a host', () => {
  test.each([[['10.0.0.1']], [['8.8.8.8', '127.0.0.1']], [['8.8.8.8', 'fd00:ec2::254']], [['64:ff9b::a9fe:a9fe']]])(
    'refuses a name that resolves to %j with the sentence that a delivery fails with',
    async (texts) => {
      const lookup = answering(...texts);
      const refusal = await hostCheck(lookup)('name.test');
      expect(refusal).toBe(blockedMessage('name.test'));
      expect(await sendTo('name.test', 80, lookup)).toEqual({ errorCode: 'BLOCKED_ADDRESS', errorMessage: refusal });
    },
  );

  test('has nothing against public addresses, or those that are allowed', async () => {
    expect(await hostCheck(answering('8.8.8.8', '2606:4700:4700::1111'))('name.test')).toBeNull();
    const inside = answering('10.1.2.3');
    expect(await hostCheck(inside, 2000, ['10.0.0.0/8'])('name.test')).toBeNull();
    expect(await hostCheck(inside, 2000, ['10.9.0.0/16'])('name.test')).toBe(blockedMessage('name.test'));
  });

  test('judges localhost and addresses without looking them up', async () => {
    const check = hostCheck(() => Promise.reject(new Error('looked up')));
    for (const host of ['localhost', 'app.localhost', '127.0.0.1', '::1', '169.254.169.254']) {
      expect(await check(host)).toBe(blockedMessage(host));
    }
    expect(await check('8.8.8.8')).toBeNull();
  });

  test('has nothing against a name that does not resolve, or has no address', async () => {
    const error = Object.assign(new Error('unknown'), { code: 'ENOTFOUND' });
    expect(await hostCheck(() => Promise.reject(error))('name.test')).toBeNull();
    expect(await hostCheck(answering())('name.test')).toBeNull();
  });

  test('has nothing against a name whose name server does not answer, and says so within its limit', async () => {
    await using server = await startNameServer(() => null);
    const startedAt = performance.now();
    expect(await hostCheck(createLookup([server.address]), 100)('name.test')).toBeNull();
    expect(performance.now() - startedAt).toBeLessThan(900); // the name server alone would be waited for for seconds
    expect(server.questions).toContain('A name.test');
  });

  test('rejects for what is a bug here', async () => {
    const check = createHostCheck(() => Promise.reject(new TypeError('a bug')));
    await expect(check('name.test')).rejects.toThrow('a bug');
  });

  test(`keeps no more than ${hostChecksMax} lookups under way, and checks again when they have ended`, async () => {
    const held = Promise.withResolvers<LookupAddress[]>();
    let lookupCount = 0;
    const check = hostCheck(async (host) => {
      lookupCount += 1;
      return host === 'inside.test' ? addressesOf(['10.0.0.1']) : await held.promise;
    }, 50);
    const answers = await Promise.all(
      Array.from({ length: hostChecksMax * 2 }, async (_, index) => await check(`slow${index}.test`)),
    );
    expect(new Set(answers)).toEqual(new Set([null]));
    expect(lookupCount).toBe(hostChecksMax);
    expect(await check('inside.test')).toBeNull(); // the lookups go on after their checks were answered
    held.resolve(addressesOf(['8.8.8.8']));
    await expect.poll(async () => await check('inside.test')).toBe(blockedMessage('inside.test'));
    expect(lookupCount).toBeLessThanOrEqual(hostChecksMax + 1);
  });
});

/** A name server whose answers for A follow one another, and the check and the sender that ask it. */
async function rebinding(...turns: string[]) {
  const server = await startNameServer((name, type) =>
    type === 'A' ? [{ name, type, value: turns.shift() ?? '' }] : [],
  );
  const lookup = createLookup([server.address]);
  return {
    check: hostCheck(lookup, 2000, ['127.0.0.2/32']),
    lookup,
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  };
}

describe('a name that is rebound between its check and the delivery', () => {
  test('public at first and then private: it is taken, and never reached', async () => {
    await using listener = await startListener(['127.0.0.1', '127.0.0.2']);
    await using rebound = await rebinding('127.0.0.2', '127.0.0.1');
    expect(await rebound.check('name.test')).toBeNull();
    expect(await sendTo('name.test', listener.port, rebound.lookup)).toEqual({
      errorCode: 'BLOCKED_ADDRESS',
      errorMessage: blockedMessage('name.test'),
    });
    expect(await listener.connectionCount()).toBe(0);
  });

  test('private at first and then public: it is refused, and a delivery reaches the public address only', async () => {
    await using listener = await startListener(['127.0.0.1', '127.0.0.2']);
    await using rebound = await rebinding('127.0.0.1', '127.0.0.2');
    expect(await rebound.check('name.test')).toBe(blockedMessage('name.test'));
    expect((await sendTo('name.test', listener.port, rebound.lookup)).errorCode).toBeNull();
    expect(await listener.connectionCount('127.0.0.1')).toBe(0);
    expect(await listener.connectionCount('127.0.0.2')).toBe(1);
  });
});
