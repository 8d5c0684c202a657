import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createApiClient } from '../support/e2e-client.ts';
import { createDataFolder, runPosthorn, startPosthorn } from '../support/posthorn.ts';

/** As graphql-codegen wrote it beside the typed documents of these tests. */
const persistedFile = path.join(import.meta.dirname, '../generated/persisted-documents.json');

test('introspection, points and origins are as the environment says', async () => {
  const env = {
    POSTHORN_INTROSPECTION: 'false',
    POSTHORN_RATE_POINTS_PER_MINUTE: '100',
    POSTHORN_ALLOWED_ORIGINS: 'https://app.example.com',
  };
  await using posthorn = await startPosthorn({ env });
  await using client = createApiClient(posthorn, posthorn.apiKey);
  expect((await client.ask('{ __schema { types { name } } }')).errors[0]?.code).toBe('FORBIDDEN');
  const answer = await fetch(posthorn.graphqlUrl, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${posthorn.apiKey}`,
      'content-type': 'application/json',
      origin: env.POSTHORN_ALLOWED_ORIGINS,
    },
    body: JSON.stringify({ query: '{ webhooks(first: 90) { nodes { id } } }' }),
  });
  expect(answer.headers.get('access-control-allow-origin')).toBe(env.POSTHORN_ALLOWED_ORIGINS);
  expect(await answer.json()).toMatchObject({ extensions: { rateLimit: { limit: 100, remaining: 9, cost: 91 } } });
  expect((await client.askOverWebsocket('{ webhooks(first: 90) { nodes { id } } }')).errors[0]?.code).toBe(
    'RATE_LIMITED',
  );
});

test('a file of operations is all that is executed', async () => {
  const operations = Object.entries(JSON.parse(await readFile(persistedFile, 'utf8')) as Record<string, string>);
  const [documentId, text = ''] = operations.find(([, operation]) => operation.startsWith('query Project {')) ?? [];
  await using posthorn = await startPosthorn({ env: { POSTHORN_PERSISTED_OPERATIONS: persistedFile } });
  await using client = createApiClient(posthorn, posthorn.apiKey);
  expect((await client.ask(text)).errors[0]?.code).toBe('PERSISTED_ONLY');
  const answer = await fetch(posthorn.graphqlUrl, {
    method: 'POST',
    headers: { authorization: `Bearer ${posthorn.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ documentId }),
  });
  expect(await answer.json()).toMatchObject({ data: { project: { id: posthorn.projectId } } });
});

test('a file of operations that do not fit the schema stops the start', async () => {
  await using folder = await createDataFolder();
  const file = path.join(folder.path, 'persisted-documents.json');
  const wrong = '{ nope }';
  const wrongHash = createHash('sha256').update(wrong).digest('hex');
  await writeFile(file, JSON.stringify({ [wrongHash]: wrong }));
  const running = runPosthorn(['start'], {
    PORT: '0',
    POSTHORN_DATA: folder.path,
    POSTHORN_PERSISTED_OPERATIONS: file,
  });
  expect((await running.ended).code).toBe(1);
  expect(running.output()).toContain(
    `posthorn: POSTHORN_PERSISTED_OPERATIONS: "${wrongHash}" in ${file} does not fit the schema: Cannot query field "nope"`,
  );
});
