import { formatError } from './mask-error.ts';
import type { FormattedExecutionResult, GraphQLError } from 'graphql';

/** A result as any of the executors give it. */
interface Result {
  data?: Record<string, unknown> | null | undefined;
  errors?: readonly GraphQLError[] | undefined;
  extensions?: Record<string, unknown> | undefined;
}

/** A result as it goes out; its errors have been masked. */
export function formatResult({ data, errors, extensions }: Result): FormattedExecutionResult {
  return {
    ...(data === undefined ? {} : { data }),
    ...(extensions === undefined ? {} : { extensions }),
    ...(errors === undefined ? {} : { errors: errors.map(formatError) }),
  };
}
