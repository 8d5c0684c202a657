import { readFile } from 'node:fs/promises';
import { getOperationAST, OperationTypeNode, parse } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { kindOfId } from '../../src/domain/ids.ts';
import { emit } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import type { Answer, ApiClient } from '../support/e2e-client.ts';
import { deploy } from '../support/e2e-stack.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { Receiver } from '../support/receiver.ts';

// Every operation of the README, in its order, with the variables that stand below it, on one Posthorn. In the variables
// `…` stands for what an earlier answer gave: an id of that prefix, or a cursor. The receiver answers 500, so that there
// are failures to list.

interface Example {
  name: string;
  query: string;
  /** As JSON; null where the README shows none. */
  variables: string | null;
}

const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
const blocks = [...readme.matchAll(/^```graphql\n(.*?)^```\n(?:\n```json\n(.*?)^```$)?/gms)];
const calls = [...readme.matchAll(/-d '(\{"query":.*?\})'$/gms)];
const examples: Example[] = [
  ...calls.map(([, body = '{}'], index) => ({
    name: `call ${index + 1}`,
    query: (JSON.parse(body) as { query: string }).query,
    variables: null,
  })),
  ...blocks.map(([, query = '', variables]) => ({
    name: getOperationAST(parse(query))?.name?.value ?? query,
    query,
    variables: variables ?? null,
  })),
];

const adminKey = 'the-admin-key-of-the-examples';
/** The latest of each kind of id, by prefix, and the latest cursor. */
const seen = new Map<string, string>();
let posthorn: RunningPosthorn;
let receiver: Receiver;
let client: ApiClient;
let administrator: ApiClient;

beforeAll(async () => {
  receiver = await startReceiver(() => ({ status: 500 }));
  posthorn = await deploy('embedded', { POSTHORN_ADMIN_KEY: adminKey });
  client = createApiClient(posthorn, posthorn.apiKey);
  administrator = createApiClient(posthorn, adminKey, 'Access');
});
afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await administrator[Symbol.asyncDispose]();
  await posthorn[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
});

/** The operation as a reader would send it: to a receiver of their own. */
function toOwnReceiver(query: string): string {
  return query.replaceAll(/https:\/\/example\.com|http:\/\/127\.0\.0\.1:9000/g, receiver.url);
}

function fill(variables: string | null): Record<string, unknown> {
  return JSON.parse(variables ?? '{}', (_key, value: unknown) => {
    if (typeof value !== 'string' || !value.includes('…')) return value;
    const kind = kindOfId(value) === null ? 'cursor' : value.slice(0, value.indexOf('_'));
    const found = seen.get(kind);
    if (found === undefined) throw new Error(`no earlier answer gave what ${value} stands for`);
    return found;
  }) as Record<string, unknown>;
}

/** Remembers ids and cursors, and gives all user errors. */
function readAnswer(value: unknown, key: string | null = null): unknown[] {
  if (Array.isArray(value)) return value.flatMap((item) => readAnswer(item));
  if (typeof value === 'string' && key === 'id') seen.set(value.slice(0, value.indexOf('_')), value);
  if (typeof value === 'string' && key === 'cursor') seen.set('cursor', value);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    return name === 'userErrors' && Array.isArray(inner) ? inner : readAnswer(inner, name);
  });
}

/** Whether what the operation does first is for the administrator alone, as the README says around it. */
function needsAdministrator(query: string): boolean {
  return /^mutation \w+ \{\s+createProject\(/.test(query.trim());
}

/** A list is asked for again until there is something in it. */
async function answerOf(query: string, variables: object): Promise<Answer> {
  return await untilFound('a list to show something', async () => {
    const answer = await (needsAdministrator(query) ? administrator : client).ask(query, variables);
    return JSON.stringify(answer.data).includes('[]') && !query.trim().startsWith('mutation') ? null : answer;
  });
}

/** The first item; events are emitted until it comes, because a subscription does not say when it has begun. */
async function firstItem(query: string, variables: object): Promise<Answer> {
  using watch = client.watchOverSse(query, variables);
  return await untilFound('an item of the feed', async () => {
    await emit(client, 'config.deployed', { application: 'search' });
    return await watch.nextAnswer(500).catch(() => null);
  });
}

/** What is attempted this moment cannot be sent again by hand. */
async function untilNothingIsUnderWay(): Promise<void> {
  const query = 'query { deliveries(first: 1, filter: { statuses: [DELIVERING] }) { nodes { id } } }';
  await untilFound('no attempt to be under way', async () => {
    const { data } = await client.ask<{ deliveries: { nodes: unknown[] } }>(query);
    return data?.deliveries.nodes.length === 0 ? true : null;
  });
}

test('the README shows how to create a webhook, emit, list failures, watch and resend', () => {
  expect(examples.map(({ query }) => query).join('\n')).toMatch(
    /createWebhook[^]*deliveryFeed[^]*emitEvent[^]*deliveries\([^]*resendDelivery/,
  );
});

test.each(examples)('$name runs as the README has it', async ({ query, variables }) => {
  const document = parse(query);
  const operation = getOperationAST(document);
  const names = operation?.variableDefinitions?.map(({ variable }) => variable.name.value) ?? [];
  expect(Object.keys(JSON.parse(variables ?? '{}') as object)).toEqual(names);
  const sent = toOwnReceiver(query);
  const answers: Answer[] = [];
  if (operation?.operation === OperationTypeNode.SUBSCRIPTION) {
    answers.push(await firstItem(sent, {}));
    readAnswer(answers);
    answers.push(await firstItem(sent, fill(variables)));
  } else {
    await untilNothingIsUnderWay();
    answers.push(await answerOf(sent, fill(variables)));
  }
  for (const { data, errors } of answers) {
    expect(errors).toEqual([]);
    expect(readAnswer(data)).toEqual([]);
  }
});
