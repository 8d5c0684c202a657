import { z } from 'zod';

/**
 * What a request says about who sends it: nothing, an API key or access token, the admin key, or what cannot be any of
 * them, which is as wrong as a wrong one.
 */
export type Credentials =
  | { kind: 'none' }
  | { kind: 'key'; key: string }
  | { kind: 'admin'; key: string }
  | { kind: 'unusable' };

const keyLengthMax = 1_024;
const shapes = [
  { kind: 'key', pattern: /^bearer +(\S+)$/i },
  { kind: 'admin', pattern: /^access +(\S.*)$/i },
] as const;

/** Parses the value of an `authorization` header. */
export function parseAuthorization(value: unknown): Credentials {
  if (value === undefined || value === null || value === '') return { kind: 'none' };
  const text = typeof value === 'string' ? value.trim() : '';
  for (const { kind, pattern } of shapes) {
    const key = pattern.exec(text)?.[1];
    if (key !== undefined && key.length <= keyLengthMax) return { kind, key };
  }
  return { kind: 'unusable' };
}

const connectionParams = z.looseObject({ authorization: z.unknown(), Authorization: z.unknown() }).partial();

/**
 * Parses a WebSocket's `connectionParams`. A browser cannot set headers on a WebSocket; for clients that can, the
 * upgrade request's own header counts when the params name none.
 */
export function parseConnectionParams(params: unknown, header: string | undefined): Credentials {
  const named = connectionParams.safeParse(params ?? {});
  return parseAuthorization(named.data?.authorization ?? named.data?.Authorization ?? header);
}
