import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { connectionOf, cursorOf, parsePage, windowOf } from '../../schema/connection.ts';

const uuid = '0190163d-8694-739b-aea5-966c26f8ad91';

test('a page has 20 nodes from the start unless somebody says otherwise', () => {
  expect(parsePage({})).toEqual({ size: 20, backward: false, after: null, before: null });
  expect(windowOf(parsePage({}))).toEqual({ where: {}, orderBy: { id: 'desc' }, take: 21 });
});

test('a cursor leads back to the id it was made of', () => {
  fc.assert(
    fc.property(fc.uuid(), (id) => {
      expect(parsePage({ after: cursorOf(id) }).after).toBe(id);
    }),
  );
});

test.each([
  [{ first: 101 }, 'first must be from 0 to 100, not 101.'],
  [{ last: 101 }, 'last must be from 0 to 100, not 101.'],
  [{ first: -1 }, 'first must be from 0 to 100, not -1.'],
  [{ first: 1, last: 2 }, 'last must be absent when first is given, not 2.'],
  [{ after: 'nonsense' }, 'after must be a cursor of this list, not "nonsense".'],
  [{ before: '' }, 'before must be a cursor of this list, not "".'],
  [{ after: `${cursorOf(uuid)}=` }, 'after must be a cursor'],
])('page arguments %j are refused with a message that names argument and value', (args, message) => {
  expect(() => parsePage(args)).toThrow(message);
});

test('a backward page comes in the order of the list', () => {
  const rows = [{ id: `${uuid.slice(0, -1)}1` }, { id: `${uuid.slice(0, -1)}2` }, { id: `${uuid.slice(0, -1)}3` }];
  const page = connectionOf(parsePage({ last: 2 }), rows, async () => 3);
  expect(page.edges.map((edge) => edge.node)).toEqual([rows[1], rows[0]]);
  expect(page.pageInfo).toMatchObject({ hasPreviousPage: true, hasNextPage: false });
});
