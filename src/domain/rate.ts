/** How far a key is ahead of its rate. A key without a state has granted nothing lately. */
export interface RateState {
  /** The clock at the last take, whole microseconds. */
  atUs: number;
  /** By how many microseconds what was granted is ahead of an even rate at `atUs`; at `atUs + leadUs` the state is as good as none. */
  leadUs: number;
}

/** What a take asks for. */
export interface RateRequest {
  wanted: number;
  /** What is granted is nothing or at least this. */
  least: number;
  /** Time between two starts at an even rate. */
  intervalUs: number;
  /** The furthest that starts may get ahead of an even rate. */
  leadUsMax: number;
}

/** What a take gave, and the state that the next one begins with. */
export interface RateTake {
  /** Starts granted now, 0 to wanted. */
  granted: number;
  /** Milliseconds until the least that was asked for can be granted, to the microsecond; 0 when all were. */
  waitMs: number;
  state: RateState;
}

/** What may be started at once: this much of the rate, but always one. */
const burstUs = 100_000;
/** A rate so small that its interval is no exact number any more gets this one, of 285 years. */
const intervalUsMax = Number.MAX_SAFE_INTEGER;
/** Share of a start that is given away, so that rounding cannot make a promised wait too short. */
const roundingShare = 1e-9;

/**
 * A request for `wanted` starts (a whole number from 0) at `perSecond` (above 0, may be a fraction).
 * Throws RangeError naming what is neither.
 */
export function rateRequest(perSecond: number, wanted: number): RateRequest {
  if (!(perSecond > 0 && Number.isFinite(perSecond))) {
    throw new RangeError(`perSecond is ${perSecond}, but must be a finite number above 0`);
  }
  if (!Number.isSafeInteger(wanted) || wanted < 0) {
    throw new RangeError(`wanted is ${wanted}, but must be a whole number from 0`);
  }
  const intervalUs = Math.min(1_000_000 / perSecond, intervalUsMax);
  return { wanted, least: 1, intervalUs, leadUsMax: Math.max(intervalUs, burstUs) };
}

/** Points that may be spent at any pace: all of them at once, and they come back evenly over the period. */
export interface Budget {
  /** A whole number from 1. */
  points: number;
  periodMs: number;
}

/** What is left of a budget. */
export interface BudgetLeft {
  remaining: number;
  /** Milliseconds until nothing of it is spent any more. */
  fullMs: number;
}

/**
 * A request for `cost` points of a budget, all or none. Throws RangeError naming a number that is no whole one from 0,
 * and a cost above the budget, which could never be granted.
 */
export function budgetRequest({ points, periodMs }: Budget, cost: number): RateRequest {
  if (!Number.isSafeInteger(points) || points < 1) {
    throw new RangeError(`points is ${points}, but must be a whole number from 1`);
  }
  if (!Number.isSafeInteger(cost) || cost < 0 || cost > points) {
    throw new RangeError(`cost is ${cost}, but must be a whole number from 0 to ${points}`);
  }
  const leadUsMax = periodMs * 1000;
  return { wanted: cost, least: cost, intervalUs: leadUsMax / points, leadUsMax };
}

/** Says what a lead leaves of a budget. */
export function budgetLeft({ points, periodMs }: Budget, leadUs: number): BudgetLeft {
  const leadUsMax = periodMs * 1000;
  const remaining = Math.floor(((leadUsMax - leadUs) / leadUsMax) * points + roundingShare);
  return { remaining: Math.max(0, remaining), fullMs: leadUs / 1000 };
}

/**
 * Takes starts at the clock `nowUs` (whole microseconds), as many as may be had of those wanted. Over any window of
 * n seconds at most n · perSecond + max(1, perSecond / 10) are granted, and after exactly `waitMs` there is the least that
 * was asked for. When the rate changes, the lead is kept as time, cut to what the new rate allows. A clock that goes back drains nothing.
 * Source: the generic cell rate algorithm in its form as a continuous-state leaky bucket, ITU-T I.371, with the increment
 * `intervalUs` and the limit `leadUsMax - intervalUs`. This form keeps a lead and not a theoretical arrival time: a small
 * number stays exact, and a clock set back cannot close a key for as long.
 */
export function takeAtRate(state: RateState | null, nowUs: number, request: RateRequest): RateTake {
  const { wanted, least, intervalUs, leadUsMax } = request;
  const drainedUs = state === null ? 0 : Math.max(0, state.leadUs - Math.max(0, nowUs - state.atUs));
  const beforeUs = Math.min(drainedUs, leadUsMax);
  const grantable = Math.max(0, Math.floor((leadUsMax - beforeUs) / intervalUs + roundingShare));
  const granted = grantable < least ? 0 : Math.min(wanted, grantable);
  const leadUs = beforeUs + granted * intervalUs;
  const waitUs = granted < wanted ? Math.ceil(leadUs + least * intervalUs - leadUsMax) : 0;
  return { granted, waitMs: waitUs / 1000, state: { atUs: nowUs, leadUs } };
}
