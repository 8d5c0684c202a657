import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { partsOf } from '../../src/domain/trace-parent.ts';
import { post, startTestGateway, until } from '../support/gateway-fixture.ts';
import { noteSpans, placeOf } from '../support/noted-spans.ts';
import type { NotedSpans } from '../support/noted-spans.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

const outside = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const ours = '00-11111111111111111111111111111111-2222222222222222-01';
const [outsideId, oursId] = [partsOf(placeOf(outside)).traceId, partsOf(placeOf(ours)).traceId];

const bearer = { authorization: 'Bearer good' };

/** The trace id of the operation's log line, as soon as it is written; undefined when the line has none. */
async function loggedTraceId(gateway: GatewayFixture, operationName: string): Promise<unknown> {
  const find = (): Record<string, unknown> | undefined =>
    gateway.logs().find((line) => line['operationName'] === operationName && line['msg'] === 'graphql operation');
  await until(() => find() !== undefined);
  return find()?.['traceId'];
}

async function runOverWebsocket(gateway: GatewayFixture, query: string, traceparent: unknown): Promise<void> {
  const client = gateway.client(bearer);
  for await (const result of client.iterate({ query, extensions: { traceparent } }))
    expect(result.errors).toBeUndefined();
  await client.dispose();
}

describe('without a tracer', () => {
  let gateway: GatewayFixture;
  beforeEach(async () => {
    gateway = await startTestGateway();
  });
  afterEach(async () => await gateway[Symbol.asyncDispose]());

  test.each([
    ['goes on', outside, outside],
    ['that is none is ignored', 'none', null],
    ['that is absent stays so', null, null],
  ])('a traceparent of a request %s', async (_what, given, place) => {
    const headers = { ...bearer, ...(given === null ? {} : { traceparent: given }) };
    const { body } = await post(gateway, { query: 'query Asked { traceParent }' }, headers);
    expect(body).toEqual({ data: { traceParent: place } });
    expect(await loggedTraceId(gateway, 'Asked')).toBe(place === null ? undefined : outsideId);
  });

  test('a traceparent of one operation on a socket is that one’s', async () => {
    await runOverWebsocket(gateway, 'query First { hello }', outside);
    await runOverWebsocket(gateway, 'query Second { hello }', { not: 'a text' });
    expect(await loggedTraceId(gateway, 'First')).toBe(outsideId);
    expect(await loggedTraceId(gateway, 'Second')).toBeUndefined();
  });
});

describe('with a tracer', () => {
  let gateway: GatewayFixture;
  let tracer: NotedSpans;
  beforeEach(async () => {
    tracer = noteSpans(placeOf(ours));
    gateway = await startTestGateway({}, { tracer });
  });
  afterEach(async () => await gateway[Symbol.asyncDispose]());

  test('an operation is a span of its caller’s trace, and what it emits follows from that span', async () => {
    const { body } = await post(
      gateway,
      { query: 'query Asked { traceParent }' },
      { ...bearer, traceparent: outside, 'x-request-id': 'request-1' },
    );
    expect(body).toEqual({ data: { traceParent: ours } });
    expect(await loggedTraceId(gateway, 'Asked')).toBe(oursId);
    expect(tracer.spans).toMatchObject([{ start: { kind: 'SERVER', parent: outside, link: null } }]);
    expect(tracer.spans[0]?.ends).toEqual([
      {
        name: 'query',
        attributes: {
          'graphql.operation.type': 'query',
          'graphql.operation.name': 'Asked',
          'posthorn.request.id': 'request-1',
          'posthorn.transport': 'http',
          'posthorn.project.id': 'project of good',
        },
        failed: false,
      },
    ]);
  });

  test('what its caller did wrong is said and is no failure; a crash is one', async () => {
    await post(gateway, { query: '{ notFound }' }, bearer);
    await post(gateway, { query: '{ nothingLikeThat }' }, bearer);
    await post(gateway, { query: '{ crash }' }, bearer);
    await until(() => tracer.spans.length === 3 && tracer.spans.every(({ ends }) => ends.length === 1));
    expect(tracer.spans.map(({ ends: [end] }) => [end?.attributes['error.type'], end?.failed])).toEqual([
      ['NOT_FOUND', false],
      ['BAD_USER_INPUT', false],
      ['INTERNAL', true],
    ]);
    expect(JSON.stringify(tracer.spans)).not.toContain('hunter2');
  });

  test('a subscription is a span until it has begun, and other messages of its socket are none', async () => {
    const client = gateway.client(bearer);
    const items = client.iterate({ query: 'subscription Lasting { forever }', extensions: { traceparent: outside } });
    expect((await items.next()).value).toEqual({ data: { forever: 1 } });
    expect(tracer.spans).toMatchObject([
      {
        start: { parent: outside },
        ends: [{ name: 'subscription', attributes: { 'posthorn.transport': 'websocket' } }],
      },
    ]);
    await items.return?.();
    await loggedTraceId(gateway, 'Lasting');
    await client.dispose();
    expect(tracer.spans).toHaveLength(1);
  });
});
