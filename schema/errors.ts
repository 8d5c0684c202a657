import { GraphQLError } from 'graphql';
import type { Permission } from '../src/domain/permissions.ts';

/** The `extensions.code` of every top-level error that a resolver gives on purpose. Stable text. */
export type ErrorCode =
  | 'UNAUTHENTICATED'
  | 'FORBIDDEN'
  | 'NOT_FOUND'
  | 'BAD_USER_INPUT'
  | 'CURSOR_EXPIRED'
  | 'QUERY_TOO_COMPLEX'
  | 'UNAVAILABLE';

/** Makes the error that a resolver throws; what is thrown without a code is a bug and gets masked by the gateway. */
export function apiError(code: ErrorCode, message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code } });
}

const keyNeeded = 'This needs a valid API key: send it as "authorization: Bearer <key>".';

/** What is missing where only the administrator may ask. */
export const adminKeyNeeded = 'This needs the admin key: send it as "authorization: Access <admin key>".';

/** Nobody is asking: no credentials, or none that are valid. */
export function unauthenticated(message: string = keyNeeded): GraphQLError {
  return apiError('UNAUTHENTICATED', message);
}

/** The caller may not do this. */
export function forbidden(permission: Permission): GraphQLError {
  return apiError('FORBIDDEN', `This API key lacks the permission ${permission}.`);
}

/** The administrator asks for something that is in a project. */
export function noProject(): GraphQLError {
  return apiError('FORBIDDEN', 'The administrator belongs to no project: this needs an API key of the project.');
}

/** A project's key asks for something that only the administrator may have. */
export function forbiddenToProjects(): GraphQLError {
  return apiError('FORBIDDEN', `Only the administrator may do this. ${adminKeyNeeded}`);
}

/** An access token asks for something that takes an API key itself. */
export function forbiddenToTokens(): GraphQLError {
  return apiError('FORBIDDEN', 'An access token cannot make or revoke credentials: this needs an API key.');
}

/** There is no such thing in the caller's project, whether or not another project has it. */
export function notFound(what: string, id: string): GraphQLError {
  return apiError('NOT_FOUND', `No ${what} with id ${shown(id)}.`);
}

/** An argument of a query or subscription is not what it must be. */
export function badInput(argument: string, requirement: string, value: unknown): GraphQLError {
  return apiError('BAD_USER_INPUT', `${argument} must be ${requirement}, not ${shown(value)}.`);
}

/** A value as error messages show it: JSON, cut to 100 characters. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
