import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { idFromUuid } from '../../src/domain/ids.ts';
import { parseKeyId, parseKeysCreate } from '../../src/keys-arguments.ts';

const now = new Date('2026-01-01T00:00:00Z');
const project = idFromUuid('project', randomUUID());
const good = { project, name: 'CI', permissions: 'EMIT_EVENTS' };

test('the options of a key are read, a permission once however often it is named', () => {
  const options = { ...good, permissions: 'EMIT_EVENTS, VIEW_WEBHOOKS,EMIT_EVENTS', expiresInDays: '30' };
  expect(parseKeysCreate(options, now)).toEqual({
    project: { kind: 'known', id: project },
    name: 'CI',
    permissions: ['EMIT_EVENTS', 'VIEW_WEBHOOKS'],
    expiresAt: new Date('2026-01-31T00:00:00Z'),
  });
});

test.each([
  [{ project: 'Search' }, '--project "Search" must be the id of a project, prj_….'],
  [
    { newProject: 'Search' },
    'Either --project <id> or --new-project <name> must be given: the project that the key is for.',
  ],
  [
    { name: ' ' },
    '--name " " must be 1 to 100 characters, not only blanks, without control characters and halves of surrogate pairs.',
  ],
  [
    { permissions: 'EMIT' },
    '--permissions "EMIT" must be some of VIEW_WEBHOOKS, MANAGE_WEBHOOKS, EMIT_EVENTS, joined by commas.',
  ],
  [
    { permissions: '' },
    '--permissions "" must be some of VIEW_WEBHOOKS, MANAGE_WEBHOOKS, EMIT_EVENTS, joined by commas.',
  ],
  [{ expiresInDays: '0' }, '--expires-in-days "0" must be a number above 0, at most 36500.'],
  [{ expiresInDays: 'soon' }, '--expires-in-days "soon" must be a number above 0, at most 36500.'],
])('%j is refused with the option and its value', (difference, message) => {
  expect(() => parseKeysCreate({ ...good, ...difference }, now)).toThrow(new Error(message));
});

test('a key pasted in the place of its id is not shown', () => {
  expect(() => parseKeyId('phk_geheim')).toThrow(
    new Error("<id> must be the API key's id, key_…, and not its text, phk_…."),
  );
});
