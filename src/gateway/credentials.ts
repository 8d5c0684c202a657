import { z } from 'zod';

/** What a request says about who sends it. `unusable` is something that cannot be an API key: a wrong one. */
export type Credentials = { kind: 'none' } | { kind: 'key'; key: string } | { kind: 'unusable' };

const keyLengthMax = 512;
const bearer = /^bearer +(\S+)$/i;

/** Parses the value of an `authorization` header. */
export function parseAuthorization(value: unknown): Credentials {
  if (value === undefined || value === null || value === '') return { kind: 'none' };
  const key = typeof value === 'string' ? bearer.exec(value.trim())?.[1] : undefined;
  return key === undefined || key.length > keyLengthMax ? { kind: 'unusable' } : { kind: 'key', key };
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
