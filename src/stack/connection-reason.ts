const meanings: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection was closed at once',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  ENOTFOUND: 'no such host name is known',
  EAI_AGAIN: 'host names cannot be looked up at the moment',
  ETIMEDOUT: 'it did not answer in time',
};

/**
 * Why a connection was not made, in words, with the system's code where there is one.
 * Where a name has several addresses, Node reports all failures in one error that has a code and no message.
 */
export function connectionReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!('code' in error) || typeof error.code !== 'string') return error.message;
  const meaning = meanings[error.code];
  return meaning === undefined ? error.code : `${meaning} (${error.code})`;
}
