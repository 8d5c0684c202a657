/** Runs a look-up when its turn comes; null, as if nothing was found, when the line is full or takes too long. */
export type LookupLine = <Found>(lookUp: () => Promise<Found | null>) => Promise<Found | null>;

export interface LookupLineLimits {
  /** Look-ups that are made at the same time. */
  atOnceMax: number;
  /** Look-ups that wait for their turn, and for how long. */
  waitingMax: number;
  waitMsMax: number;
}

/** Creates a line of look-ups that nobody can load the database with, however many come. */
export function createLookupLine({ atOnceMax, waitingMax, waitMsMax }: LookupLineLimits): LookupLine {
  let underWayCount = 0;
  /** The one that came first, first. */
  const waiting = new Set<() => void>();

  async function turn(): Promise<boolean> {
    if (underWayCount < atOnceMax) {
      underWayCount += 1;
      return true;
    }
    if (waiting.size >= waitingMax) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const begin = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    const timer = setTimeout(() => {
      waiting.delete(begin);
      resolve(false);
    }, waitMsMax);
    waiting.add(begin);
    return await promise;
  }

  /** The next one has the place from now on, so that nobody who comes meanwhile takes it. */
  function passOn(): void {
    const [next] = waiting;
    if (next === undefined) {
      underWayCount -= 1;
      return;
    }
    waiting.delete(next);
    next();
  }

  return async (lookUp) => {
    if (!(await turn())) return null;
    try {
      return await lookUp();
    } finally {
      passOn();
    }
  };
}
