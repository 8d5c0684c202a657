/**
 * Whether the promise is fulfilled before `limitMs` has passed; it goes on in either case.
 * Rejects with the promise's own error when that comes first; a later one is nobody's.
 */
export async function endsWithin(limitMs: number, promise: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  try {
    return await Promise.race([promise.then(() => true), limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** The promise's outcome, or a rejection that says `what` did not answer within `limitMs`. */
export async function within<Value>(limitMs: number, what: string, promise: Promise<Value>): Promise<Value> {
  if (await endsWithin(limitMs, promise)) return await promise;
  throw new Error(`${what} did not answer within ${limitMs} ms`);
}
