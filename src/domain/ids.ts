import { suffixOfUuid, uuidOfSuffix } from './typeid-suffix.ts';

// src/domain: the rules of Posthorn as pure functions. No I/O, no clock, no randomness: what varies is a parameter.
// Everything else may import it; it imports only itself and node:crypto.

/** The prefix of each kind of id, as in `evt_01h455vb4pex5vsknk084sn02q`. */
export const idPrefixes = {
  project: 'prj',
  apiKey: 'key',
  webhook: 'wh',
  webhookSecret: 'sec',
  event: 'evt',
  delivery: 'dlv',
  attempt: 'att',
  eventType: 'ety',
  recovery: 'rcv',
  auditEntry: 'aud',
} as const;

export type IdKind = keyof typeof idPrefixes;

declare const idBrand: unique symbol;

/** A TypeID of one kind: prefix, underscore, base32 UUIDv7. Source: TypeID specification 0.3. */
export type Id<Kind extends IdKind> = string & { readonly [idBrand]: Kind };

export type ProjectId = Id<'project'>;
export type ApiKeyId = Id<'apiKey'>;
export type WebhookId = Id<'webhook'>;
export type EventId = Id<'event'>;
export type DeliveryId = Id<'delivery'>;
export type AttemptId = Id<'attempt'>;
export type EventTypeId = Id<'eventType'>;
export type RecoveryId = Id<'recovery'>;

const suffixPattern = /^[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}$/;

/** Reads an id of the kind, or null when the text is not one. */
export function findId<Kind extends IdKind>(kind: Kind, text: string): Id<Kind> | null {
  const prefix = `${idPrefixes[kind]}_`;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the parser is where the brand is given
  return text.startsWith(prefix) && suffixPattern.test(text.slice(prefix.length)) ? (text as Id<Kind>) : null;
}

/** Reads an id of the kind. Throws a RangeError that names the kind and the text when it is not one. */
export function parseId<Kind extends IdKind>(kind: Kind, text: string): Id<Kind> {
  const id = findId(kind, text);
  if (id === null) throw new RangeError(`not a ${kind} id: ${JSON.stringify(text.slice(0, 64))}`);
  return id;
}

/** The kind that an id's prefix names, or null when it names none. */
export function kindOfId(text: string): IdKind | null {
  for (const [kind, prefix] of Object.entries(idPrefixes)) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.entries forgets the key type
    if (text.startsWith(`${prefix}_`)) return kind as IdKind;
  }
  return null;
}

/** The id of the kind that stands for a UUID in its usual text form. */
export function idFromUuid<Kind extends IdKind>(kind: Kind, uuid: string): Id<Kind> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the parser is where the brand is given
  return `${idPrefixes[kind]}_${suffixOfUuid(uuid)}` as Id<Kind>;
}

/** The UUID behind an id, as Postgres takes it. */
export function uuidOf(id: Id<IdKind>): string {
  return uuidOfSuffix(id);
}
