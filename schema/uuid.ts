import { findId, type IdKind, uuidOf } from '../src/domain/ids.ts';

/** The UUID behind an id of the kind as a caller gave it, or null when it is none. */
export function findUuid(kind: IdKind, text: string): string | null {
  const id = findId(kind, text);
  return id === null ? null : uuidOf(id);
}

/** The smallest UUIDv7 of the instant's millisecond: ids made since are not below it. Source: RFC 9562 §5.7. */
export function firstUuidAt(instant: Date): string {
  const ms = Math.max(0, instant.getTime()).toString(16).padStart(12, '0');
  return `${ms.slice(0, 8)}-${ms.slice(8, 12)}-7000-8000-000000000000`;
}
