import { randomUUID } from 'node:crypto';
import { beforeAll, afterAll, describe, expect, test } from 'vitest';
import { ProjectDocument } from '../generated/graphql.ts';
import { createApiClient } from '../support/e2e-client.ts';
import { createStack } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { createDataFolder, runPosthorn, startPosthorn } from '../support/posthorn.ts';
import { idFromUuid } from '../../src/domain/ids.ts';

/** Runs a command that works, and gives what it printed. */
async function run(env: Record<string, string>, ...args: string[]): Promise<string> {
  const running = runPosthorn(args, env);
  const ended = await running.ended;
  expect({ ...ended, output: running.output() }).toMatchObject({ code: 0 });
  return running.output().trim();
}

async function fail(env: Record<string, string>, ...args: string[]): Promise<string> {
  const running = runPosthorn(args, env);
  const ended = await running.ended;
  expect({ ...ended, output: running.output() }).toMatchObject({ code: 1 });
  return running.output().trim();
}

describe('posthorn keys beside a running embedded Posthorn', () => {
  test('makes a key that works at once, lists it, and revokes it', async () => {
    await using posthorn = await startPosthorn();
    const env = { POSTHORN_DATA: posthorn.dataFolder };
    const args = ['keys', 'create', '--project', posthorn.projectId, '--name', 'CI', '--permissions', 'VIEW_WEBHOOKS'];
    const key = await run(env, ...args);
    expect(key).toMatch(/^phk_[\w-]{43}$/);
    await using client = createApiClient(posthorn, key);
    expect((await client.run(ProjectDocument, {})).project.id).toBe(posthorn.projectId);

    const [line, ...others] = (await run(env, 'keys', 'list', '--project', posthorn.projectId)).split('\n');
    expect(others).toHaveLength(1); // the one of the start
    const [id = '', ...fields] = line?.split('\t') ?? [];
    expect(fields).toEqual([
      posthorn.projectId,
      key.slice(0, 8),
      'live',
      'VIEW_WEBHOOKS',
      expect.any(String),
      'never',
      'CI',
    ]);
    expect(line).not.toContain(key);

    expect(await run(env, 'keys', 'revoke', id)).toBe(`Revoked ${id}.`);
    expect(await run(env, 'keys', 'list')).toContain('\trevoked\tVIEW_WEBHOOKS\t');
    await using revoked = createApiClient(posthorn, key);
    // A gateway may know a key for a few seconds more; a new connection with it ends by then.
    await expect
      .poll(async () => (await revoked.ask(ProjectDocument)).errors.map(({ code }) => code), { timeout: 15_000 })
      .toEqual(['UNAUTHENTICATED']);
  });
});

test('posthorn keys starts the embedded database itself when nothing runs there, and leaves nothing behind', async () => {
  await using folder = await createDataFolder();
  const env = { POSTHORN_DATA: folder.path };
  const printed = await run(env, 'keys', 'create', '--new-project', 'Search', '--name', 'First', '--json');
  const { key, projectId } = JSON.parse(printed);
  await using posthorn = await startPosthorn({ dataFolder: folder.path });
  await using client = createApiClient(posthorn, key);
  expect((await client.run(ProjectDocument, {})).project).toMatchObject({ id: projectId, name: 'Search' });
});

describe('posthorn keys on DATABASE_URL', () => {
  let stack: E2eStack;

  beforeAll(async () => {
    stack = await createStack('postgres');
  });

  afterAll(async () => await stack[Symbol.asyncDispose]());

  test('says to migrate first, and works after that, with an expiry', async () => {
    const create = [
      'keys',
      'create',
      '--new-project',
      'Search',
      '--name',
      'Short',
      '--expires-in-days',
      '0.5',
      '--json',
    ];
    expect(await fail(stack.env, ...create)).toMatch(/ is not up to date: run `posthorn migrate` first\.$/);
    await run(stack.env, 'migrate');
    const created = JSON.parse(await run(stack.env, ...create));
    expect(created).toMatchObject({ state: 'live', name: 'Short', revokedAt: null });
    const leftMs = Date.parse(created.expiresAt) - Date.parse(created.createdAt);
    expect(Math.abs(leftMs - 12 * 3_600_000)).toBeLessThan(60_000);
    const [listed] = JSON.parse(await run(stack.env, 'keys', 'list', '--json'));
    const { key, ...facts } = created;
    expect(listed).toEqual(facts);
    expect(key).toMatch(/^phk_/);
  });

  const nobody = idFromUuid('project', randomUUID());
  const unknownKey = idFromUuid('apiKey', randomUUID());
  test.each([
    [
      'a project that is not there',
      ['create', '--project', nobody, '--name', 'x'],
      `--project ${nobody}: there is no such project; --new-project makes one.`,
    ],
    [
      'a key that is not there',
      ['revoke', unknownKey],
      `${unknownKey}: there is no such API key; \`posthorn keys list\` shows them.`,
    ],
  ])('says that there is no such one: %s', async (_title, args, message) => {
    expect(await fail(stack.env, 'keys', ...args)).toBe(`posthorn: ${message}`);
  });
});
