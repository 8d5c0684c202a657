import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blockedMessage, checkWebhookUrl, hostOf } from '../../src/domain/webhook-url.ts';
import { createLookup } from '../../worker/egress-lookup.ts';
import { createSender, type Sender, type SenderOptions } from '../../worker/send.ts';
import { type AddressForm, addressForms, urlOf } from '../support/address-forms.ts';
import { addressesOf } from '../support/addresses.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { hasIpv6, type Listener, startListener } from '../support/listener.ts';
import { type NameRecord, startNameServer } from '../support/name-server.ts';
import { startRawReceiver, startReceiver } from '../support/receiver.ts';

const signal = new AbortController().signal;

/** Stands for a public address, so that nothing leaves the machine; its neighbour 127.0.0.1 stays forbidden. */
const publicAddress = '127.0.0.2';
const privateAddress = '127.0.0.1';

function testSender(changes: Partial<SenderOptions> = {}): Sender {
  return createSender({
    brand: 'posthorn',
    version: '1',
    attemptTimeoutMs: 3000,
    allowedCidrs: [],
    onInternalError: (error) => {
      throw error;
    },
    ...changes,
  });
}

/** What the names of the forms resolve to: the metadata service, or this machine. */
async function insideLookup(host: string) {
  if (/^(?:metadata|instance-data)\b/.test(host)) return addressesOf(['169.254.169.254', 'fd00:ec2::254']);
  return await Promise.resolve(addressesOf(['127.0.0.1', '::1']));
}

const everyAddress = hasIpv6 ? ['0.0.0.0', '::1'] : ['0.0.0.0'];

/** What the customer reads of why the URL may not be sent to. */
function reasonOf(url: string): string {
  const check = checkWebhookUrl(url, { requireHttps: false });
  return check.kind === 'refused' ? check.message : blockedMessage(hostOf(new URL(check.url)));
}

function isReachable({ reaches }: AddressForm): boolean {
  return reaches === 4 || (reaches === 6 && hasIpv6);
}

function a(name: string, value: string): NameRecord {
  return { name, type: 'A', value };
}

function alias(name: string, value: string): NameRecord {
  return { name, type: 'CNAME', value };
}

describe('every form of a private address', () => {
  let listener: Listener;
  let sender: Sender;

  beforeAll(async () => {
    listener = await startListener(everyAddress);
    sender = testSender({ lookup: insideLookup });
  });

  afterAll(async () => {
    await sender[Symbol.asyncDispose]();
    await listener[Symbol.asyncDispose]();
  });

  test.each(addressForms.map((form) => [form.url, form] as const))('%j is not connected to', async (_url, form) => {
    const url = urlOf(form, listener.port);
    const result = await sender.send(dispatchTo(url), signal);
    expect(result).toMatchObject({ response: null, errorCode: 'BLOCKED_ADDRESS', errorMessage: reasonOf(url) });
    expect(result.timings).toMatchObject({ connectMs: null, tlsMs: null });
    expect(await listener.connectionCount()).toBe(0);
  });

  test('the listener hears nothing when all are sent to at once', async () => {
    const codes = await Promise.all(
      addressForms.map(async (form) => {
        return (await sender.send(dispatchTo(urlOf(form, listener.port)), signal)).errorCode;
      }),
    );
    expect(new Set(codes)).toEqual(new Set(['BLOCKED_ADDRESS']));
    expect(await listener.connectionCount()).toBe(0);
  });
});

describe('the same forms where loopback is allowed', () => {
  let listener: Listener;
  let sender: Sender;

  beforeAll(async () => {
    listener = await startListener(everyAddress);
    sender = testSender({ allowedCidrs: ['127.0.0.0/8', '0.0.0.0/32', '::/127'], lookup: insideLookup });
  });

  afterAll(async () => {
    await sender[Symbol.asyncDispose]();
    await listener[Symbol.asyncDispose]();
  });

  test.each(addressForms.filter(isReachable).map((form) => [form.url, form] as const))(
    '%j reaches the listener, which shows that it means this machine',
    async (_url, form) => {
      const result = await sender.send(dispatchTo(urlOf(form, listener.port)), signal);
      expect(result).toMatchObject({ response: { status: 200, body: 'inside' }, errorCode: null });
    },
  );

  test('WEBHOOK_ALLOWED_CIDRS opens the range that it names and nothing beside it', async () => {
    await using narrow = testSender({ allowedCidrs: ['127.0.0.0/8'] });
    const results = [];
    for (const host of ['127.0.0.1', '0x7f.1', '[::ffff:127.0.0.1]', '0.0.0.0', '[::1]', '10.0.0.1']) {
      const result = await narrow.send(dispatchTo(`http://${host}:${listener.port}/`), signal);
      results.push(result.response?.status ?? result.errorCode);
    }
    expect(results).toEqual([200, 200, 200, 'BLOCKED_ADDRESS', 'BLOCKED_ADDRESS', 'BLOCKED_ADDRESS']);
  });
});

describe('names', () => {
  let listener: Listener;

  beforeAll(async () => {
    listener = await startListener([publicAddress, privateAddress]);
  });

  afterAll(async () => await listener[Symbol.asyncDispose]());

  const publicOnly = { allowedCidrs: [`${publicAddress}/32`] };

  /** Sends `count` times in a row, each on a connection of its own, and gives the outcomes and who was connected to. */
  async function outcomesOf(changes: Partial<SenderOptions>, count: number) {
    await using sender = testSender({ ...publicOnly, ...changes });
    const before = await listener.connectionCount(publicAddress);
    const outcomes: (number | string | null)[] = [];
    for (let sent = 0; sent < count; sent += 1) {
      const result = await sender.send(dispatchTo(`http://name.test:${listener.port}/`), signal);
      outcomes.push(result.response?.status ?? result.errorCode);
    }
    expect(await listener.connectionCount(privateAddress)).toBe(0);
    return { outcomes, publicCount: (await listener.connectionCount(publicAddress)) - before };
  }

  test.each([
    [[publicAddress, privateAddress]],
    [[privateAddress, publicAddress]],
    [[publicAddress, publicAddress, publicAddress, '::1']],
    [['8.8.8.8', privateAddress]],
    [['2606:4700:4700::1111', '::ffff:7f00:1']],
    [[publicAddress, '169.254.169.254']],
    [[publicAddress, '127.1']],
    [[publicAddress, 'fe80::1%lo']],
    [[publicAddress, '']],
  ])('a name with the records %j is refused whole: not even its public addresses are connected to', async (texts) => {
    const { outcomes, publicCount } = await outcomesOf({ lookup: async () => addressesOf(texts) }, 2);
    expect(outcomes).toEqual(['BLOCKED_ADDRESS', 'BLOCKED_ADDRESS']);
    expect(publicCount).toBe(0);
  });

  test.each([
    ['public at first, then private', [publicAddress, privateAddress, publicAddress, privateAddress]],
    ['private at first, then public', [privateAddress, publicAddress, privateAddress, publicAddress]],
  ])('a name that is rebound, %s, never leads to the private address', async (_order, turns) => {
    let lookupCount = 0;
    const lookup = async () => addressesOf([turns[lookupCount++ % turns.length] ?? '']);
    const { outcomes, publicCount } = await outcomesOf({ lookup }, turns.length);
    expect(outcomes).toEqual(turns.map((address) => (address === publicAddress ? 200 : 'BLOCKED_ADDRESS')));
    expect(lookupCount).toBe(turns.length); // one per connection: what was checked is what is connected to
    expect(publicCount).toBe(2);
  });

  test('a name server that rebinds the name between lookups never leads to the private address', async () => {
    const turns = [publicAddress, privateAddress, privateAddress, publicAddress];
    await using server = await startNameServer((name, type) => (type === 'A' ? [a(name, turns.shift() ?? '')] : []));
    const { outcomes, publicCount } = await outcomesOf({ lookup: createLookup([server.address]) }, 4);
    expect(outcomes).toEqual([200, 'BLOCKED_ADDRESS', 'BLOCKED_ADDRESS', 200]);
    expect(publicCount).toBe(2);
    expect(server.questions.filter((question) => question === 'A name.test')).toHaveLength(4);
  });

  test.each<[string, NameRecord[], NameRecord[], number | string]>([
    ['a public address', [a('c.test', publicAddress)], [], 200],
    ['a private address', [a('c.test', privateAddress)], [], 'BLOCKED_ADDRESS'],
    ['both', [a('c.test', publicAddress), a('c.test', privateAddress)], [], 'BLOCKED_ADDRESS'],
    [
      'a private IPv6 address beside a public one',
      [a('c.test', publicAddress)],
      [{ name: 'c.test', type: 'AAAA', value: '::ffff:169.254.169.254' }],
      'BLOCKED_ADDRESS',
    ],
    [
      'nothing but a private IPv6 address',
      [],
      [{ name: 'c.test', type: 'AAAA', value: 'fd00:ec2::254' }],
      'BLOCKED_ADDRESS',
    ],
  ])('a chain of aliases is judged by its end: %s', async (_end, v4, v6, outcome) => {
    const chain = [alias('name.test', 'b.test'), alias('b.test', 'c.test')];
    await using server = await startNameServer((_name, type) => [...chain, ...(type === 'A' ? v4 : v6)]);
    expect((await outcomesOf({ lookup: createLookup([server.address]) }, 1)).outcomes).toEqual([outcome]);
  });

  test('a name server that does not answer is a DNS error or a timeout, and nothing is connected to', async () => {
    await using server = await startNameServer(() => null);
    const lookup = createLookup([server.address]);
    const { outcomes, publicCount } = await outcomesOf({ lookup, connectTimeoutMs: 300 }, 1);
    expect(outcomes).toEqual(['TIMEOUT']);
    expect(publicCount).toBe(0);
  });
});

describe('ways around', () => {
  test.each([301, 302, 303, 307, 308])('a redirect with %i is never followed', async (status) => {
    await using elsewhere = await startReceiver();
    const locations = [
      elsewhere.url,
      'http://169.254.169.254/latest/meta-data/',
      '//169.254.169.254/',
      'http://[::1]/',
    ];
    await using receiver = await startReceiver((_request, index) => ({
      status,
      headers: { location: locations[index] ?? '', refresh: `0; url=${locations[index]}` },
    }));
    let lookupCount = 0;
    await using sender = testSender({
      allowedCidrs: ['127.0.0.0/8', '169.254.0.0/16'], // even where all of it is allowed
      lookup: async () => {
        lookupCount += 1;
        return await Promise.resolve(addressesOf(['127.0.0.1']));
      },
    });
    for (const location of locations) {
      const result = await sender.send(dispatchTo(receiver.url), signal);
      expect(result).toMatchObject({ response: { status }, errorMessage: null });
      expect(result.response?.headers).toContainEqual({ name: 'location', value: location });
    }
    expect(receiver.requests).toHaveLength(locations.length);
    expect(elsewhere.connectionCount()).toBe(0);
    expect(lookupCount).toBe(0);
  });

  test('the environment’s proxy settings, which Node’s own client obeys, do not change where requests go', async () => {
    let proxiedCount = 0;
    await using proxy = await startRawReceiver((socket) => {
      proxiedCount += 1;
      socket.on('data', (bytes) => {
        if (bytes.toString('latin1').startsWith('CONNECT ')) socket.write('HTTP/1.1 200 OK\r\n\r\n');
        else socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nproxy');
      });
    });
    await using receiver = await startReceiver(() => ({ body: 'receiver' }));
    const names = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy'];
    const program = path.resolve(import.meta.dirname, '../support/proxied-send-process.ts');
    const url = receiver.url.replace('127.0.0.1', 'receiver.test');
    const { stdout } = await promisify(execFile)(process.execPath, [program, url], {
      timeout: 15_000,
      env: { NODE_USE_ENV_PROXY: '1', ...Object.fromEntries(names.map((name) => [name, proxy.url])) },
    });
    expect(JSON.parse(stdout)).toEqual({
      fetched: 'proxy',
      sent: 'receiver',
      secure: 'TLS',
      inside: 'BLOCKED_ADDRESS',
    });
    expect(proxiedCount).toBe(1); // of Node's own client
    expect(receiver.requests.map((request) => request.path)).toEqual(['/']);
  });
});
