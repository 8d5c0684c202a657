import { GraphQLError } from 'graphql';
import { currentOperation } from './operation-scope.ts';
import type { GraphQLFormattedError } from 'graphql';
import type { Logger } from 'pino';

/** Codes of the libraries for requests that cannot be understood, all of them the caller's to mend. */
const requestCodes = new Set([
  'BAD_REQUEST',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'OPERATION_RESOLUTION_FAILURE',
  'REQUEST_ENTITY_TOO_LARGE',
]);

/**
 * Says after how many seconds to ask again when an error means that a server behind the gateway is away; null when it means
 * nothing of the kind. Told of every such error, so that it can be counted and need not be logged.
 */
export type FindOutage = (error: unknown) => number | null;

/**
 * Gives the function through which every error of an operation goes on its way out: what carries a code was meant for
 * the caller and passes, an outage becomes UNAVAILABLE, everything else is logged whole and becomes INTERNAL with the
 * request's id.
 */
export function createMaskError(logger: Logger, findOutage: FindOutage = () => null): (error: unknown) => GraphQLError {
  return (error) => {
    const scope = currentOperation();
    const code = deliberateCode(error);
    if (code !== null && error instanceof GraphQLError) {
      scope.errorCodes.add(code);
      return code === error.extensions['code'] ? error : withExtensions(error, { ...error.extensions, code });
    }
    const retryAfterSeconds = findOutage(rootOf(error));
    if (retryAfterSeconds !== null) {
      scope.errorCodes.add('UNAVAILABLE');
      return unavailable(error, retryAfterSeconds);
    }
    const { requestId, operationName } = scope;
    scope.errorCodes.add('INTERNAL');
    const path = error instanceof GraphQLError ? error.path : undefined;
    logger.error({ err: rootOf(error), requestId, operationName, path }, 'unexpected error in a graphql operation');
    // `unexpected` makes Yoga answer 500 when there is no data at all; it does not reach the caller.
    const extensions = { code: 'INTERNAL', requestId, unexpected: true };
    return error instanceof GraphQLError
      ? withExtensions(error, extensions, 'Unexpected error')
      : new GraphQLError('Unexpected error', { extensions });
  };
}

function unavailable(error: unknown, retryAfterSeconds: number): GraphQLError {
  const message = `Posthorn cannot answer now: a server that it needs is away. Try again in ${retryAfterSeconds} s.`;
  const http = { status: 503, headers: { 'retry-after': String(retryAfterSeconds) } };
  const extensions = { code: 'UNAVAILABLE', retryAfterSeconds, http };
  return error instanceof GraphQLError
    ? withExtensions(error, extensions, message)
    : new GraphQLError(message, { extensions });
}

/** An error as the caller sees it: without what was only meant for the HTTP side. */
export function formatError(error: GraphQLError): GraphQLFormattedError {
  const { http: _http, unexpected: _unexpected, ...extensions } = error.extensions;
  const { extensions: _all, ...formatted } = error.toJSON();
  return Object.keys(extensions).length > 0 ? { ...formatted, extensions } : formatted;
}

/** The code that somebody put on this error on purpose, or null when it was a crash that GraphQL only located. */
function deliberateCode(error: unknown): string | null {
  if (!(error instanceof GraphQLError)) return null;
  const root = rootOf(error);
  // GraphQLError takes over the extensions of whatever it wraps, so a library's own error must not pass by its code.
  const borrowed = !(root instanceof GraphQLError) && hasExtensions(root) && root.extensions === error.extensions;
  const { code } = error.extensions;
  if (borrowed || typeof code !== 'string') return null;
  return requestCodes.has(code) ? 'BAD_USER_INPUT' : code;
}

function hasExtensions(value: unknown): value is { extensions: unknown } {
  return typeof value === 'object' && value !== null && 'extensions' in value;
}

/** What was thrown first, below whatever GraphQL put around it. */
export function rootOf(error: unknown): unknown {
  return error instanceof GraphQLError && error.originalError !== undefined ? rootOf(error.originalError) : error;
}

/** Gives the error anew, at the same place of the document, with these extensions. */
export function withExtensions(
  error: GraphQLError,
  extensions: Record<string, unknown>,
  message: string = error.message,
): GraphQLError {
  const { nodes = null, source = null, positions = null, path = null } = error;
  return new GraphQLError(message, { nodes, source, positions, path, extensions });
}
