import { GraphQLError } from 'graphql';
import type { SpendingLimit } from '../rate-limit/rate-limit.ts';

/** What an API key has left, as `extensions.rateLimit` says it. */
export interface RateStatus {
  /** Points per minute. */
  limit: number;
  /** Points that can be spent now. */
  remaining: number;
  /** When none of them is spent any more, if nothing else is asked for; ISO 8601. */
  resetAt: string;
  /** Points of this operation, whether or not it was executed. */
  cost: number;
}

/** What charging came to. */
export interface Charge {
  status: RateStatus;
  /** RATE_LIMITED when the account cannot pay now; it was not charged then. */
  refusal: GraphQLError | null;
}

/** Charges an account for an operation, before it is executed. */
export type ChargeOperation = (account: string, cost: number) => Promise<Charge>;

const minuteMs = 60_000;

/** Creates what charges operations to API keys: each may spend so many points at once, which come back evenly within a minute. */
export function createOperationRate(limit: SpendingLimit, pointsPerMinute: number): ChargeOperation {
  const budget = { points: pointsPerMinute, periodMs: minuteMs };
  return async (account, cost) => {
    const { granted, remaining, waitMs, fullMs } = await limit.spend(`points:${account}`, budget, cost);
    const status = { limit: pointsPerMinute, remaining, resetAt: new Date(Date.now() + fullMs).toISOString(), cost };
    return { status, refusal: granted ? null : rateLimited(status, Math.max(1, Math.ceil(waitMs / 1000))) };
  };
}

function rateLimited(rateLimit: RateStatus, retryAfterSeconds: number): GraphQLError {
  const { cost, limit, remaining } = rateLimit;
  const message =
    `This operation costs ${cost} points, and this API key has ${remaining} of its ${limit} per minute left: ` +
    `try again in ${retryAfterSeconds} s.`;
  const http = { status: 429, headers: { 'retry-after': String(retryAfterSeconds) } };
  return new GraphQLError(message, { extensions: { code: 'RATE_LIMITED', rateLimit, http } });
}
