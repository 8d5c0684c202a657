import { toUUID, typeidUnboxed } from 'typeid-js';
import { type Id, idPrefixes, type IdKind, parseId } from '../domain/ids.ts';

/** Makes a fresh id of the kind. Ids made by one process sort in the order they were made. Source: RFC 9562 §5.7. */
export function newId<Kind extends IdKind>(kind: Kind): Id<Kind> {
  return parseId(kind, typeidUnboxed(idPrefixes[kind]));
}

/** Makes a fresh UUIDv7 in its usual text form. */
export function newUuid(): string {
  return toUUID(typeidUnboxed());
}
