import { errors } from 'undici';
import type { AttemptErrorCode } from '../src/domain/delivery.ts';
import { codeOf, EgressError } from './egress-error.ts';
import { responseBodyBytesMax } from './response-body.ts';

/** Most bytes of a response's status line and headers. */
export const responseHeadBytesMax = 32 * 1024;

/** Why an attempt has no complete answer. */
export interface Trouble {
  code: AttemptErrorCode;
  /** For the customer. */
  message: string;
}

export const bodyTooLarge: Trouble = {
  code: 'BODY_TOO_LARGE',
  message: `The response body is larger than ${responseBodyBytesMax / 1024} KiB; the rest was not read.`,
};

export const bodyCorrupt: Trouble = {
  code: 'PROTOCOL',
  message: 'The response body is not what its content-encoding says.',
};

export const internalTrouble: Trouble = {
  code: 'INTERNAL',
  message: 'The attempt could not be made because of an error here. It is not the receiver’s fault.',
};

const closed: Trouble = { code: 'CONNECT', message: 'The connection was closed before the response was complete.' };
const reset: Trouble = { code: 'CONNECT', message: 'The connection was reset before the response was complete.' };
export const notHttp: Trouble = { code: 'PROTOCOL', message: 'The response is not valid HTTP/1.1.' };

/** What undici's and the socket's errors mean; those not listed here are bugs or ours. Source: undici, lib/core/errors.js. */
const troubles: ReadonlyMap<string, Trouble> = new Map([
  ['ECONNRESET', reset],
  ['EPIPE', reset],
  ['EHOSTUNREACH', reset],
  ['ENETUNREACH', reset],
  ['ETIMEDOUT', { code: 'TIMEOUT', message: 'The receiver stopped acknowledging what was sent to it.' }],
  ['UND_ERR_SOCKET', closed],
  [
    'UND_ERR_HEADERS_OVERFLOW',
    { code: 'PROTOCOL', message: `The response head is larger than ${responseHeadBytesMax / 1024} KiB.` },
  ],
  [
    'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
    { code: 'PROTOCOL', message: 'The response body is not as long as its content-length says.' },
  ],
]);

/** What an error that ended an exchange means, or null when it is not the receiver's fault. */
export function troubleOf(error: unknown): Trouble | null {
  if (error instanceof EgressError) {
    return error.attemptCode === 'INTERNAL' ? null : { code: error.attemptCode, message: error.message };
  }
  if (error instanceof errors.HTTPParserError) return notHttp; // its code is undefined more often than not
  const code = codeOf(error);
  // A receiver that wants a client certificate says so only after the handshake.
  if (code.startsWith('ERR_SSL_')) return { code: 'TLS', message: `The receiver broke off TLS (${code}).` };
  const unasked = error instanceof errors.SocketError ? unaskedAnswers.get(error.message) : undefined;
  if (unasked !== undefined) return unasked;
  return troubles.get(code) ?? null;
}

/** Interim answers that undici breaks off at, by its words for them. */
const unaskedAnswers: ReadonlyMap<string, Trouble> = new Map([
  ['bad response', unaskedFor('100 Continue')],
  ['bad upgrade', unaskedFor('101 Switching Protocols')],
]);

function unaskedFor(answer: string): Trouble {
  return { code: 'PROTOCOL', message: `The receiver answered ${answer}, which was not asked for.` };
}
