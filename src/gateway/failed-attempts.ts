import { takeAtRate } from '../domain/rate.ts';
import type { RateState } from '../domain/rate.ts';

/** What clients may get wrong. */
export interface FailedAttemptsLimits {
  /** Failed authentications of one client that are answered at once. */
  failedAuthenticationsMax: number;
  /** After which time, in milliseconds, it may fail once more. */
  failedAuthenticationMs: number;
}

/** What came of an attempt: what was found, null when it failed, or how long the client has to wait before the next. */
export type Attempt<Found> = { kind: 'made'; found: Found | null } | { kind: 'limited'; waitMs: number };

/** Counts the failed authentications of each client. */
export interface FailedAttempts {
  /** Counts a failure. Gives 0, or the milliseconds to wait when the client had failed too often already. */
  fail(client: string): number;
  /**
   * Looks up for a client unless it failed too often. An attempt is taken for a failure until it has turned out to be
   * none, so that many at once are not free; those beyond the limit wait for how the others end, and are not refused
   * because these are under way. A look-up that rejects is no failure.
   */
  attempt<Found>(client: string, lookUp: () => Promise<Found | null>): Promise<Attempt<Found>>;
}

/** Clients remembered; of more, those that failed longest ago are forgotten. About 2 MB. */
const clientsMax = 10_000;

/** Creates the counts of this process. */
export function createFailedAttempts(
  limits: FailedAttemptsLimits,
  now: () => number = () => performance.now(),
): FailedAttempts {
  const counts = createCounts(limits, now);
  /** Attempts that have not turned out yet, by client; each resolves when it has and is forgotten here. */
  const underWay = new Map<string, Set<Promise<void>>>();

  async function judged<Found>(client: string, lookUp: () => Promise<Found | null>): Promise<Found | null> {
    let failed = false;
    try {
      const found = await lookUp();
      failed = found === null;
      return found;
    } finally {
      if (!failed) counts.forgive(client);
    }
  }

  function track(client: string, made: Promise<unknown>): void {
    const attempts = underWay.get(client) ?? new Set();
    underWay.set(client, attempts);
    const forget = (): void => {
      attempts.delete(over);
      if (attempts.size === 0) underWay.delete(client);
    };
    const over = made.then(forget, forget);
    attempts.add(over);
  }

  return {
    fail: (client) => counts.fail(client),
    async attempt(client, lookUp) {
      let waitMs = counts.fail(client);
      for (let others = underWay.get(client); waitMs > 0 && others !== undefined; others = underWay.get(client)) {
        await Promise.race(others);
        waitMs = counts.fail(client);
      }
      if (waitMs > 0) return { kind: 'limited', waitMs };
      const made = judged(client, lookUp);
      track(client, made);
      return { kind: 'made', found: await made };
    },
  };
}

/** How far each client is ahead of what it may fail, by the arithmetic of src/domain/rate.ts. */
function createCounts(limits: FailedAttemptsLimits, now: () => number) {
  const intervalUs = limits.failedAuthenticationMs * 1000;
  const request = { wanted: 1, least: 1, intervalUs, leadUsMax: limits.failedAuthenticationsMax * intervalUs };
  /** The one that failed longest ago first. */
  const states = new Map<string, RateState>();

  function keep(client: string, state: RateState): void {
    states.delete(client);
    const [oldest] = states.keys();
    if (states.size >= clientsMax && oldest !== undefined) states.delete(oldest);
    states.set(client, state);
  }

  return {
    fail(client: string): number {
      const { waitMs, state } = takeAtRate(states.get(client) ?? null, Math.round(now() * 1000), request);
      keep(client, state);
      return waitMs;
    },
    forgive(client: string): void {
      const state = states.get(client);
      if (state === undefined) return;
      const leadUs = state.leadUs - intervalUs;
      if (leadUs <= 0) states.delete(client);
      else keep(client, { ...state, leadUs });
    },
  };
}

/**
 * The client behind an address, as failures are counted: an IPv4 address, or the 64 bits of an IPv6 address that its
 * network gives out; the other half every machine may choose anew as often as it likes (RFC 8981).
 */
export function clientOf(address: string): string {
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  if (!address.includes(':')) return address;
  const [head = [], tail = []] = address.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => '0');
  return [...head, ...zeros, ...tail].slice(0, 4).join(':');
}
