import { AsyncLocalStorage } from 'node:async_hooks';
import type { OperationTypeNode } from 'graphql';
import type { Logger } from 'pino';
import type { Administrator, Caller } from '../../schema/context.ts';

/** One GraphQL operation, from its request to its last answer, on either transport. */
export interface OperationScope {
  readonly requestId: string;
  readonly transport: 'http' | 'sse' | 'websocket';
  caller: Caller | Administrator | null;
  operationName: string | null;
  operationType: OperationTypeNode | null;
  /** The `extensions.code` of every error answered so far. */
  readonly errorCodes: Set<string>;
}

const storage = new AsyncLocalStorage<OperationScope>();

/**
 * Runs an operation in its scope until `run` resolves, and writes its one log line, unless nothing was asked for.
 * No payload and no credential is in it.
 */
export async function runOperation(scope: OperationScope, logger: Logger, run: () => Promise<void>): Promise<void> {
  const startedAt = performance.now();
  try {
    await storage.run(scope, run);
  } finally {
    const { caller, errorCodes, ...known } = scope;
    if (known.operationType !== null || errorCodes.size > 0) {
      const durationMs = Math.round((performance.now() - startedAt) * 10) / 10;
      logger.info({ ...known, ...whoIs(caller), durationMs, errorCodes: [...errorCodes] }, 'graphql operation');
    }
  }
}

/** Who asked, as log lines name it: by ids that are no secret. */
function whoIs(caller: OperationScope['caller']): Record<string, string | null> {
  if (caller === null) return { callerKind: null, projectId: null };
  if (caller.kind === 'ADMINISTRATOR') return { callerKind: caller.kind, projectId: null };
  return { callerKind: caller.kind, projectId: caller.projectId, apiKeyId: caller.apiKeyId };
}

/** Starts the scope of an operation of which nothing is known yet. */
export function createOperationScope(
  requestId: string,
  transport: OperationScope['transport'],
  caller: OperationScope['caller'],
): OperationScope {
  return { requestId, transport, caller, operationName: null, operationType: null, errorCodes: new Set() };
}

/** Gives the scope that the calling code runs in. Throws outside of `runOperation`: that is a bug of the gateway. */
export function currentOperation(): OperationScope {
  const scope = storage.getStore();
  if (scope === undefined) throw new Error('no GraphQL operation is under way here');
  return scope;
}
