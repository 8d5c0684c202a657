/** One error of a chain of causes. */
export interface Trouble {
  error: object;
  /** Empty when it has none. */
  code: string;
  message: string;
}

/** The system's words for a connection that was not made or broke. */
const connectionCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
const causesMax = 5;

/** Whether the code is the system's for a connection that was not made or broke. */
export function isConnectionCode(code: string): boolean {
  return connectionCodes.has(code);
}

/** Whether it is true of the error or of one of the four that led to it. */
export function someCause(error: unknown, isTrue: (trouble: Trouble) => boolean): boolean {
  let cause: unknown = error;
  for (let depth = 0; depth < causesMax && typeof cause === 'object' && cause !== null; depth += 1) {
    const message = 'message' in cause && typeof cause.message === 'string' ? cause.message : '';
    const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
    if (isTrue({ error: cause, code, message })) return true;
    cause = causeOf(cause);
  }
  return false;
}

/** Prisma keeps what Postgres said in its `meta`. */
function causeOf(error: object): unknown {
  if ('cause' in error) return error.cause;
  const meta: unknown = 'meta' in error ? error.meta : null;
  return typeof meta === 'object' && meta !== null && 'driverAdapterError' in meta ? meta.driverAdapterError : null;
}
