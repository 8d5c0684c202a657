import { DatabaseError } from 'pg';

/**
 * Whether Postgres refused a statement for what its rows contain: nothing of it was stored, and without the row at fault
 * the others would have been. Source: SQLSTATE classes 22 (data exception) and 23 (integrity constraint violation).
 */
export function isRefusedData(error: unknown): boolean {
  return error instanceof DatabaseError && /^2[23]/.test(error.code ?? '');
}
