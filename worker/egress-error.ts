import type { AttemptErrorCode } from '../src/domain/delivery.ts';

/** A connection that was not made, or not kept. `message` is written for the customer; `cause` is for operators. */
export class EgressError extends Error {
  readonly attemptCode: AttemptErrorCode;

  constructor(attemptCode: AttemptErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'EgressError';
    this.attemptCode = attemptCode;
  }
}

/** The EgressError for a socket that failed while it was being connected or, when `isSecuring`, in its TLS handshake. */
export function connectFailure(error: Error, isSecuring: boolean): EgressError {
  const code = codeOf(error);
  if (ownShortages.has(code)) {
    return new EgressError('INTERNAL', 'The connection could not be made for lack of resources here.', {
      cause: error,
    });
  }
  if (isSecuring) return new EgressError('TLS', `The TLS handshake failed${reason(code)}.`, { cause: error });
  if (code === 'ETIMEDOUT') return new EgressError('TIMEOUT', 'The receiver did not accept the connection in time.');
  return new EgressError('CONNECT', connectMessages.get(code) ?? `The connection failed${reason(code)}.`, {
    cause: error,
  });
}

/** The system's or TLS library's word for a failure, such as `ECONNREFUSED`; empty when there is none. */
export function codeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors.at(-1));
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function reason(code: string): string {
  return code === '' ? '' : ` (${code})`;
}

/** Failures that are this process's or this machine's, not the receiver's. */
const ownShortages: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']);

const connectMessages: ReadonlyMap<string, string> = new Map([
  ['ECONNREFUSED', 'The receiver refused the connection.'],
  ['ECONNRESET', 'The receiver reset the connection.'],
  ['EHOSTUNREACH', 'There is no route to the receiver.'],
  ['ENETUNREACH', 'There is no route to the receiver.'],
]);
