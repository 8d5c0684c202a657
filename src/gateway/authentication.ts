import { createHash, timingSafeEqual } from 'node:crypto';
import { isKeyText } from '../store/api-keys.ts';
import { clientOf, createFailedAttempts, type FailedAttemptsLimits } from './failed-attempts.ts';
import { createLookupLine } from './lookup-line.ts';
import type { Administrator, Caller } from '../../schema/context.ts';
import type { Secret } from '../secret.ts';
import type { Credentials } from './credentials.ts';

/** Gives who holds an API key or access token, or null when nobody does (any more). */
export type Authenticate = (key: string) => Promise<Caller | null>;

/** What became of the credentials that came with a request or a socket. `limited`: too many before them were bad. */
export type Authenticated =
  | { kind: 'accepted'; caller: Caller | Administrator | null }
  | { kind: 'refused'; message: string }
  | { kind: 'limited'; message: string; retryAfterSeconds: number };

/** Judges credentials that came from an address. Rejects when they could not be looked up. */
export type Authentication = (credentials: Credentials, address: string) => Promise<Authenticated>;

export interface AuthenticationOptions {
  authenticate: Authenticate;
  /** Null: there is no administration. */
  adminKey: Secret<string> | null;
  limits: FailedAttemptsLimits;
}

/** Credentials that were good and are remembered for it. About 2 MB. */
const provenMax = 10_000;
/** Look-ups of keys for all addresses that have failed too often; each is one step into an index. */
const lateLookups = { atOnceMax: 4, waitingMax: 1_000, waitMsMax: 2_000 };
const invalidKey = 'This API key is not valid: it is unknown, expired or revoked.';
const invalidAdminKey = 'This admin key is not valid.';

/**
 * Creates the one judge of all credentials. Who fails too often from one address has to wait. Those who share the address,
 * as all do behind one proxy, are let through all the same: with what was good here before, with access tokens, whose
 * signature says by itself whether they can be, and with whatever has the shape of an API key, whose 256 bits nobody
 * guesses. Such keys are looked up a few at a time, and only a bad one is told to wait.
 */
export function createAuthentication({ authenticate, adminKey, limits }: AuthenticationOptions): Authentication {
  const failures = createFailedAttempts(limits);
  const lookUpLate = createLookupLine(lateLookups);
  const proven = new Set<string>();
  const isAdminKey = adminKey === null ? () => false : equalTo(adminKey.reveal());

  async function judgeKey(key: string, client: string): Promise<Authenticated> {
    const digest = digestOf(key).toString('base64');
    if (proven.has(digest) || isSigned(key)) return await judgeTrusted(key, client, digest);
    const attempt = await failures.attempt(client, async () => await authenticate(key));
    const caller = attempt.kind === 'made' ? attempt.found : await findLate(key);
    if (caller !== null) {
      remember(proven, digest);
      return { kind: 'accepted', caller };
    }
    return attempt.kind === 'made' ? { kind: 'refused', message: invalidKey } : limited(attempt.waitMs);
  }

  async function findLate(key: string): Promise<Caller | null> {
    return isKeyText(key) ? await lookUpLate(async () => await authenticate(key)) : null;
  }

  async function judgeTrusted(key: string, client: string, digest: string): Promise<Authenticated> {
    const caller = await authenticate(key);
    if (caller !== null) return { kind: 'accepted', caller };
    proven.delete(digest);
    return failed(client, invalidKey);
  }

  function failed(client: string, message: string): Authenticated {
    const waitMs = failures.fail(client);
    return waitMs > 0 ? limited(waitMs) : { kind: 'refused', message };
  }

  return async (credentials, address) => {
    const client = clientOf(address);
    if (credentials.kind === 'none') return { kind: 'accepted', caller: null };
    if (credentials.kind === 'key') return await judgeKey(credentials.key, client);
    if (credentials.kind === 'admin' && isAdminKey(credentials.key)) {
      return { kind: 'accepted', caller: { kind: 'ADMINISTRATOR' } };
    }
    return failed(client, credentials.kind === 'admin' ? invalidAdminKey : invalidKey);
  };
}

function remember(proven: Set<string>, digest: string): void {
  const [oldest] = proven;
  if (proven.size >= provenMax && oldest !== undefined) proven.delete(oldest);
  proven.add(digest);
}

function limited(waitMs: number): Authenticated {
  const retryAfterSeconds = Math.ceil(waitMs / 1000);
  const message = `Too many failed authentications from this address: try again in ${retryAfterSeconds} s.`;
  return { kind: 'limited', message, retryAfterSeconds };
}

/** Compares by digest, which takes the same time however much of a text is right and however long it is. */
function equalTo(expected: string): (given: string) => boolean {
  const digest = digestOf(expected);
  return (given) => timingSafeEqual(digestOf(given), digest);
}

/** Whether the text has the shape of a JWT. */
function isSigned(key: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]+$/.test(key);
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
