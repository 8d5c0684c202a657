import { FairTurns, NoTurnError } from '../fair-turns.ts';
import { compileSchema, type CompiledSchema } from './compile-schema.ts';
import { TimeBudget } from './time-budget.ts';

/**
 * What one project may take of the process for compiling: a tenth of a core, once some hundred usual schemas. A single one
 * is stopped by its limit, but nothing else would stop a hundred.
 */
const budget = new TimeBudget({ burstMs: 3_000, perSecondMs: 100 });
const turns = new FairTurns({ atOnceMax: 1, perKeyMax: 1, waitingMax: 100, waitMsMax: 20_000 });

/** `not-now`: the project's schemas took too much time lately, or too many of them wait. */
export type CompiledInTurn = CompiledSchema | { kind: 'not-now' };

/**
 * Compiles a project's schema when it is its turn: one at a time in this process, and after each the process is free of
 * them for as long as it took, so that nobody else waits for more than one.
 */
export async function compileInTurn(projectId: string, schema: unknown, limitMs?: number): Promise<CompiledInTurn> {
  let endTurn: () => void;
  try {
    endTurn = await turns.take(projectId);
  } catch (error) {
    if (error instanceof NoTurnError) return { kind: 'not-now' };
    throw error;
  }
  // Asked only now: what waited together passes together otherwise.
  const startedAtMs = performance.now();
  try {
    return budget.isSpent(projectId) ? { kind: 'not-now' } : compileSchema(schema, limitMs);
  } finally {
    const tookMs = performance.now() - startedAtMs;
    budget.take(projectId, tookMs);
    setTimeout(endTurn, tookMs).unref();
  }
}
