import { GraphQLError } from 'graphql';

/**
 * Takes so many of a project's points, until disposed; waits for its turn while they are more than are left. Rejects with
 * RATE_LIMITED when its turn does not come in time, or too many wait.
 */
export type HoldPoints = (projectId: string, points: number) => Promise<Disposable>;

export interface PointsInFlightLimits {
  /** Points that a project's small operations may hold at once, and as many again its large ones. */
  pointsInFlightMax: number;
  /** How long an operation waits for its turn, in milliseconds. */
  pointsWaitMs: number;
}

/** Up to here an operation is small: it never waits behind a page of events or the schema whose reader has gone away. */
const smallPointsMax = 250;
/** Operations of a project that wait at once. */
const waitingMax = 1_000;

interface Waiting {
  points: number;
  start: () => void;
}

/** What a project holds of one budget, and who waits for it, the longest first. */
interface Account {
  held: number;
  waiting: Waiting[];
}

/**
 * Counts the points of each project's operations that are under way in this process, on either transport: from before
 * they are executed until their reader has taken the answer. So what the answers of a project take of memory is bounded,
 * however many connections ask and do not read; who reads its answers waits for a moment at most.
 */
export function createPointsInFlight({ pointsInFlightMax: pointsMax, pointsWaitMs }: PointsInFlightLimits): HoldPoints {
  const accounts = new Map<string, Account>();

  const startNext = (key: string, account: Account): void => {
    for (let next = account.waiting[0]; next !== undefined && fits(account, next.points, pointsMax);) {
      account.waiting.shift();
      account.held += next.points;
      next.start();
      next = account.waiting[0];
    }
    if (account.held === 0 && account.waiting.length === 0) accounts.delete(key);
  };

  return async (projectId, points) => {
    const key = `${points <= smallPointsMax ? 'small' : 'large'} ${projectId}`;
    const account = accounts.get(key) ?? { held: 0, waiting: [] };
    accounts.set(key, account);
    if (account.waiting.length === 0 && fits(account, points, pointsMax)) account.held += points;
    else if (account.waiting.length >= waitingMax) throw tooManyAtOnce(points, pointsMax);
    else if (!(await hasItsTurn(account, points, pointsWaitMs))) {
      startNext(key, account); // who waited behind it may need less
      throw tooManyAtOnce(points, pointsMax);
    }
    return {
      [Symbol.dispose]: () => {
        account.held -= points;
        startNext(key, account);
      },
    };
  };
}

/** Whether there is room; one that costs more than all may hold is let through alone. */
function fits({ held }: Account, points: number, pointsMax: number): boolean {
  return held === 0 || held + points <= pointsMax;
}

/** Waits until the points are held, or for so long; nothing is held then, and it waits no more. */
async function hasItsTurn(account: Account, points: number, waitMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const waiting: Waiting = { points, start: () => resolve(true) };
  account.waiting.push(waiting);
  const timer = setTimeout(() => {
    account.waiting.splice(account.waiting.indexOf(waiting), 1);
    resolve(false);
  }, waitMs);
  return await promise.finally(() => clearTimeout(timer));
}

function tooManyAtOnce(points: number, pointsMax: number): GraphQLError {
  const message =
    `This operation costs ${points} points, more than are left of the ${pointsMax} that operations of one project may ` +
    'cost which are under way, or whose answers are not read: try again when some have ended.';
  const http = { status: 429, headers: { 'retry-after': '1' } };
  return new GraphQLError(message, { extensions: { code: 'RATE_LIMITED', http } });
}
