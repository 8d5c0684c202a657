import type { LookupAddress } from 'node:dns';
import { once } from 'node:events';
import { createServer } from 'node:https';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConnector } from '../../worker/egress-connect.ts';
import { createSender, type Sender, type SenderOptions } from '../../worker/send.ts';
import { addressesOf } from '../support/addresses.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { receiverCertificate, receiverKey } from '../support/receiver-certificate.ts';
import { startRawReceiver, startReceiver } from '../support/receiver.ts';

const signal = new AbortController().signal;

function testSender(changes: Partial<SenderOptions> = {}): Sender {
  return createSender({
    brand: 'posthorn',
    version: '1',
    attemptTimeoutMs: 2000,
    allowedCidrs: ['127.0.0.0/8'],
    onInternalError: (error) => {
      throw error;
    },
    ...changes,
  });
}

function addresses(...texts: string[]): LookupAddress[] {
  return addressesOf(texts);
}

/** The URL of a loopback receiver under a name that only the tests' lookup knows. */
function named(url: string): string {
  return url.replace('127.0.0.1', 'receiver.test');
}

const lookup = async () => await Promise.resolve(addresses('127.0.0.1'));

describe('blocked addresses', () => {
  test.each(['http://10.0.0.1/', 'http://169.254.169.254/', 'http://[::1]/', 'http://[::ffff:10.0.0.1]/', 'http://0/'])(
    '%s is refused without a connection',
    async (url) => {
      await using sender = testSender();
      expect(await sender.send(dispatchTo(url), signal)).toMatchObject({
        response: null,
        errorCode: 'BLOCKED_ADDRESS',
        durationMs: 0,
      });
    },
  );

  test.each([
    [['10.0.0.1']],
    [['127.0.0.1', '10.0.0.1']],
    [['10.0.0.1', '127.0.0.1']],
    [['127.0.0.1', 'fd00::1']],
    [['127.0.0.1', '64:ff9b::a9fe:a9fe']],
    [['127.0.0.1', 'not an address']],
  ])('a name that resolves to %j is refused as a whole, without naming the address', async (texts) => {
    await using receiver = await startReceiver();
    await using sender = testSender({ lookup: async () => addresses(...texts) });
    const result = await sender.send(dispatchTo(named(receiver.url)), signal);
    expect(result).toMatchObject({ response: null, errorCode: 'BLOCKED_ADDRESS' });
    expect(result.errorMessage).toMatch(/^receiver\.test is, or resolves to/);
    expect(result.errorMessage).not.toMatch(/10\.0|fd00|ff9b/);
    expect(receiver.connectionCount()).toBe(0);
  });

  test('a name is judged anew at every connection, whatever it resolved to before', async () => {
    await using receiver = await startReceiver(() => ({ headers: { connection: 'close' } }));
    const answers = [['127.0.0.1'], ['192.168.0.1'], ['127.0.0.1']];
    await using sender = testSender({ lookup: async () => addresses(...(answers.shift() ?? [])) });
    const codes: (string | number | null)[] = [];
    for (let count = 0; count < 3; count += 1) {
      const result = await sender.send(dispatchTo(named(receiver.url)), signal);
      codes.push(result.response?.status ?? result.errorCode);
    }
    expect(codes).toEqual([200, 'BLOCKED_ADDRESS', 200]);
    expect(receiver.requests).toHaveLength(2);
  });

  test('a socket that ends up at a forbidden address is closed before a byte is written', async () => {
    const received: Buffer[] = [];
    const closed = Promise.withResolvers<void>();
    await using receiver = await startRawReceiver((socket) =>
      socket.on('data', (bytes) => received.push(bytes)).on('close', () => closed.resolve()),
    );
    const { connect } = createConnector({
      resolve: async () => addresses('127.0.0.1'), // as if the check had been passed by
      allowed: [],
      connectTimeoutMs: 1000,
      onOutcome: () => {},
    });
    for (const protocol of ['http:', 'https:']) {
      const failure = Promise.withResolvers<Error | null>();
      connect({ hostname: 'receiver.test', protocol, port: new URL(receiver.url).port }, (...[error]) =>
        failure.resolve(error),
      );
      expect(await failure.promise).toMatchObject({ attemptCode: 'BLOCKED_ADDRESS' });
    }
    await closed.promise;
    expect(Buffer.concat(received)).toHaveLength(0);
  });

  test('http is refused where https is required', async () => {
    await using receiver = await startReceiver();
    await using sender = testSender({ requireHttps: true });
    expect((await sender.send(dispatchTo(receiver.url), signal)).errorMessage).toBe(
      'The URL must start with https://.',
    );
    expect(receiver.requests).toEqual([]);
  });
});

describe('names', () => {
  test('localhost and its subdomains are this machine, whatever name servers say', async () => {
    await using receiver = await startReceiver();
    await using sender = testSender({ lookup: () => Promise.reject(new Error('looked up')) });
    for (const host of ['localhost', 'app.localhost', 'LOCALHOST.']) {
      expect((await sender.send(dispatchTo(receiver.url.replace('127.0.0.1', host)), signal)).response?.status).toBe(
        200,
      );
    }
  });

  test('a name that does not exist is a DNS error', async () => {
    await using sender = testSender({
      lookup: () => Promise.reject(Object.assign(new Error('secret detail'), { code: 'ENOTFOUND' })),
    });
    const result = await sender.send(dispatchTo('http://receiver.test/'), signal);
    expect(result).toMatchObject({
      errorCode: 'DNS',
      errorMessage: 'The name receiver.test could not be resolved (ENOTFOUND).',
    });
  });

  test('a name without addresses is a DNS error', async () => {
    await using sender = testSender({ lookup: async () => [] });
    expect((await sender.send(dispatchTo('http://receiver.test/'), signal)).errorCode).toBe('DNS');
  });

  test('a lookup that never ends is a timeout of the connection', async () => {
    await using sender = testSender({ connectTimeoutMs: 100, lookup: async () => await new Promise(() => {}) });
    const result = await sender.send(dispatchTo('http://receiver.test/'), signal);
    expect(result).toMatchObject({ errorCode: 'TIMEOUT', errorMessage: 'No connection within 100 ms.' });
  });

  test('the deadline of the attempt holds while a connection is being made, and nothing is sent after it', async () => {
    await using receiver = await startReceiver();
    const found = Promise.withResolvers<LookupAddress[]>();
    await using sender = testSender({ attemptTimeoutMs: 100, lookup: async () => await found.promise });
    expect(await sender.send(dispatchTo(named(receiver.url)), signal)).toMatchObject({
      errorCode: 'TIMEOUT',
      errorMessage: 'No connection within 100 ms.',
    });
    found.resolve(addresses('127.0.0.1'));
    await using probe = testSender();
    await probe.send(dispatchTo(`${receiver.url}/probe`), signal);
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/probe']);
  });

  test('requests to the same name at the same time share one lookup', async () => {
    let lookupCount = 0;
    await using receiver = await startReceiver();
    await using sender = testSender({
      lookup: async () => {
        lookupCount += 1;
        return await Promise.resolve(addresses('127.0.0.1'));
      },
    });
    const results = await Promise.all(
      Array.from({ length: 30 }, async () => await sender.send(dispatchTo(named(receiver.url)), signal)),
    );
    expect(results.every((result) => result.response?.status === 200)).toBe(true);
    expect(lookupCount).toBe(1);
    expect(results[0]?.timings.dnsMs).toEqual(expect.any(Number));
  });

  test('when the first address refuses, the next is tried', async () => {
    await using receiver = await startReceiver();
    await using sender = testSender({ lookup: async () => addresses('127.0.0.2', '127.0.0.1') });
    expect((await sender.send(dispatchTo(named(receiver.url)), signal)).response?.status).toBe(200);
  });
});

describe('TLS', () => {
  const server = createServer({ cert: receiverCertificate, key: receiverKey }, (_request, response) =>
    response.end('secure'),
  );
  let port = 0;

  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
  });

  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  test('a receiver with a trusted certificate is answered over TLS', async () => {
    await using sender = testSender({ lookup, tls: { ca: receiverCertificate } });
    const result = await sender.send(dispatchTo(`https://receiver.test:${port}/`), signal);
    expect(result).toMatchObject({ response: { status: 200, body: 'secure' }, errorCode: null });
    expect(result.timings.tlsMs).toEqual(expect.any(Number));
  });

  test('a self-signed certificate is refused', async () => {
    await using sender = testSender({ lookup });
    const result = await sender.send(dispatchTo(`https://receiver.test:${port}/`), signal);
    expect(result).toMatchObject({
      response: null,
      errorCode: 'TLS',
      errorMessage: 'The TLS handshake failed (DEPTH_ZERO_SELF_SIGNED_CERT).',
    });
  });

  test('a certificate for another name is refused', async () => {
    await using sender = testSender({ lookup, tls: { ca: receiverCertificate } });
    const result = await sender.send(dispatchTo(`https://other.test:${port}/`), signal);
    expect(result).toMatchObject({
      errorCode: 'TLS',
      errorMessage: 'The TLS handshake failed (ERR_TLS_CERT_ALTNAME_INVALID).',
    });
  });

  test('plain HTTP behind an https URL is a TLS error', async () => {
    await using receiver = await startRawReceiver((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await using sender = testSender();
    expect((await sender.send(dispatchTo(receiver.url.replace('http:', 'https:')), signal)).errorCode).toBe('TLS');
  });

  test('a handshake that never ends is a timeout of the connection, for each of several requests at once', async () => {
    await using receiver = await startRawReceiver((socket) => socket.resume());
    await using sender = testSender({ connectTimeoutMs: 200 });
    const url = receiver.url.replace('http:', 'https:');
    const results = await Promise.all(
      Array.from({ length: 8 }, async () => await sender.send(dispatchTo(url), signal)),
    );
    expect(new Set(results.map((result) => result.errorMessage))).toEqual(new Set(['No connection within 200 ms.']));
    expect(Math.max(...results.map((result) => result.durationMs))).toBeLessThan(1500);
  });
});
