import { serverAudits } from 'graphql-http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';
import { startTestGateway } from '../support/gateway-fixture.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

// The audits of graphql-http for the specification GraphQL over HTTP, each by itself against a gateway with the real schema.

let gateway: GatewayFixture;

beforeAll(async () => {
  gateway = await startTestGateway({}, { schema });
});
afterAll(async () => await gateway[Symbol.asyncDispose]());

const audits = serverAudits({
  url: () => `${gateway.url}/graphql`,
  // As a browser application or a program would: without such a header a GET could come from another site.
  fetchFn: async (url: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    headers.set('x-requested-with', 'audit');
    return await fetch(url, { ...init, headers });
  },
});

test.each(audits.map((audit) => [`${audit.id} ${audit.name}`, audit] as const))('%s', async (_title, audit) => {
  const result = await audit.fn();
  expect('reason' in result ? result.reason : null).toBeNull();
  expect(result.status).toBe('ok');
});

test('there are as many audits as the specification had when this was written', () => {
  expect(audits.length).toBe(61);
});
