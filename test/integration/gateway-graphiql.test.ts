import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { once } from 'node:events';
import { gunzipSync } from 'node:zlib';
import { buffer } from 'node:stream/consumers';
import { buildSchema, parse, validate } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestGateway } from '../support/gateway-fixture.ts';
import type { IncomingMessage } from 'node:http';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

let gateway: GatewayFixture;

beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(async () => await gateway[Symbol.asyncDispose]());

const hash = (body: Buffer): string => createHash('sha256').update(body).digest('hex');

/** Asks as a browser does, and gives the bytes as they were sent. */
async function visit(
  headers: Record<string, string>,
  method = 'GET',
): Promise<{ head: IncomingMessage; body: Buffer }> {
  const asking = httpRequest(`${gateway.url}/graphql`, { method, headers: { accept: 'text/html,*/*', ...headers } });
  asking.end();
  const [head] = (await once(asking, 'response')) as [IncomingMessage];
  return { head, body: await buffer(head) };
}

test('a browser gets GraphiQL, compressed, and a second time only if it has changed', async () => {
  const first = await visit({ 'accept-encoding': 'gzip, br' });
  expect(first.head.statusCode).toBe(200);
  expect(first.head.headers['content-encoding']).toBe('gzip');
  expect(first.head.headers['content-type']).toContain('text/html');
  expect(first.body.length).toBeLessThan(3_000_000);
  const etag = String(first.head.headers.etag);
  const again = await visit({ 'accept-encoding': 'gzip', 'if-none-match': etag });
  expect([again.head.statusCode, again.body.length]).toEqual([304, 0]);

  const plain = await visit({});
  expect(plain.head.headers['content-encoding']).toBeUndefined();
  expect(hash(plain.body)).toBe(hash(gunzipSync(first.body)));
  const head = await visit({ 'accept-encoding': 'gzip' }, 'HEAD');
  expect([head.head.statusCode, head.body.length]).toEqual([200, 0]);
});

test('the query that the page starts with is valid in the real schema', async () => {
  const html = (await visit({})).body.toString();
  const given = /"defaultQuery":("(?:[^"\\]|\\.)*")/.exec(html.slice(html.lastIndexOf('renderYogaGraphiQL(')))?.[1];
  const sdl = await readFile(new URL('../../schema/schema.graphql', import.meta.url), 'utf8');
  const document = parse(JSON.parse(given ?? '""') as string);
  expect(document.definitions).toHaveLength(2);
  expect(validate(buildSchema(sdl), document)).toEqual([]);
});

test('the page loads nothing from elsewhere and brings the fetcher that gives headers to WebSockets', async () => {
  const { head, body } = await visit({});
  const html = body.toString();
  // Elements, not text: the editor's code and schemas mention many addresses that nobody asks for.
  expect(html.match(/<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="?https?:/gi)).toBeNull();
  expect(head.headers['content-security-policy']).toContain("default-src 'none'");
  expect(html).toContain('fetcher: posthornFetcher');
  expect(html).toContain('function posthornFetcher(');
  expect(html).toContain('Bearer <your API key>');
});
