import * as fc from 'fast-check';
import { fromUUID, toUUID } from 'typeid-js';
import { expect, test } from 'vitest';
import { findId, idFromUuid, type IdKind, idPrefixes, kindOfId, parseId, uuidOf } from '../../src/domain/ids.ts';

const kinds = Object.keys(idPrefixes) as IdKind[];
const anyKind = fc.constantFrom(...kinds);

test('any UUID of any kind comes back from its id, which names its kind', () => {
  fc.assert(
    fc.property(anyKind, fc.uuid(), (kind, uuid) => {
      const id = idFromUuid(kind, uuid);
      expect(uuidOf(id)).toBe(uuid);
      expect(kindOfId(id)).toBe(kind);
      expect(parseId(kind, id)).toBe(id);
    }),
  );
});

test('ids are what the TypeID library makes of them, and the other way round', () => {
  fc.assert(
    fc.property(anyKind, fc.uuid(), (kind, uuid) => {
      const id = fromUUID(uuid, idPrefixes[kind]);
      expect(idFromUuid(kind, uuid)).toBe(id);
      expect(uuidOf(parseId(kind, id))).toBe(toUUID(id));
    }),
  );
});

test('ids sort as their UUIDs do, so that UUIDv7 ids sort by time', () => {
  fc.assert(
    fc.property(fc.uuid({ version: 7 }), fc.uuid({ version: 7 }), (a, b) => {
      expect(idFromUuid('event', a) < idFromUuid('event', b)).toBe(a < b);
    }),
  );
});

test('an id of one kind is none of any other', () => {
  fc.assert(
    fc.property(anyKind, anyKind, fc.uuid(), (kind, other, uuid) => {
      fc.pre(kind !== other);
      expect(findId(other, idFromUuid(kind, uuid))).toBeNull();
    }),
  );
});

test('prefixes differ, and none begins another', () => {
  const prefixes = kinds.map((kind) => `${idPrefixes[kind]}_`);
  for (const prefix of prefixes) expect(prefixes.filter((other) => other.startsWith(prefix))).toEqual([prefix]);
});

test.each([
  '',
  'evt',
  'evt_',
  '_01h455vb4pex5vsknk084sn02q',
  'evt_01h455vb4pex5vsknk084sn02',
  'evt_01h455vb4pex5vsknk084sn02q0',
  'evt_81h455vb4pex5vsknk084sn02q',
  'evt_01H455VB4PEX5VSKNK084SN02Q',
  'evt_01h455vb4pex5vsknk084sn02u',
  'evt_01h455vb4pex5vsknk084sn02q\n',
  'evtx_01h455vb4pex5vsknk084sn02q',
])('%j is no event id, and the error names it', (text) => {
  expect(findId('event', text)).toBeNull();
  expect(() => parseId('event', text)).toThrow(new RangeError(`not a event id: ${JSON.stringify(text)}`));
});

test('an error repeats no more than 64 characters of what it was given', () => {
  expect(() => parseId('event', 'x'.repeat(10_000))).toThrow(JSON.stringify('x'.repeat(64)));
});

test('kindOfId knows no foreign prefix', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const kind = kindOfId(text);
      expect(kind === null || text.startsWith(`${idPrefixes[kind]}_`)).toBe(true);
    }),
  );
  expect(kindOfId('usr_01h455vb4pex5vsknk084sn02q')).toBeNull();
});
