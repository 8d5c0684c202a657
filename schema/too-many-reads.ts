import { apiError } from './errors.ts';

/** What a caller is told whose project has too many reads under way. */
export function tooManyReads(): Error {
  const message =
    'Too many filtered lists, counts and statistics of this project are being read, of which two are at once.';
  return apiError('QUERY_TOO_COMPLEX', `${message} Ask for fewer in one operation, or again in some seconds.`);
}
