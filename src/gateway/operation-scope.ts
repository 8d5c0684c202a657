import { AsyncLocalStorage } from 'node:async_hooks';
import { OperationTrace } from './operation-trace.ts';
import type { DocumentNode, OperationTypeNode } from 'graphql';
import type { Logger } from 'pino';
import type { Administrator, Caller } from '../../schema/context.ts';
import type { GatewayMeter } from './gateway-meter.ts';
import type { LiveSubscription } from './live-subscription.ts';
import type { RateStatus } from './operation-rate.ts';

/** One GraphQL operation, from its request to its last answer, on either transport. */
export interface OperationScope {
  readonly requestId: string;
  readonly transport: 'http' | 'sse' | 'websocket';
  caller: Caller | Administrator | null;
  operationName: string | null;
  operationType: OperationTypeNode | null;
  document: DocumentNode | null;
  /** The `extensions.code` of every error answered so far. */
  readonly errorCodes: Set<string>;
  /** What the caller's key has left after this operation; null when it is not charged for. */
  rateLimit: RateStatus | null;
  /** Given back when the operation ends. */
  readonly held: DisposableStack;
  readonly trace: OperationTrace;
  /** The cursor that the request names as the last that it has seen. */
  lastEventId: string | null;
  /** The operation when it turned out to be a subscription to the feed; it ends with the scope. */
  live: LiveSubscription | null;
  /** Answers with such a subscription as server-sent events; null where the client does not ask for them. */
  serveEvents: ((live: LiveSubscription) => Promise<void>) | null;
}

const storage = new AsyncLocalStorage<OperationScope>();

/**
 * Runs an operation in its scope until `run` resolves, counts it, and writes its one log line, unless nothing was asked for.
 * No payload and no credential is in it.
 */
export async function runOperation(
  scope: OperationScope,
  { logger, meter }: { logger: Logger; meter: GatewayMeter | undefined },
  run: () => Promise<void>,
): Promise<void> {
  const startedAt = performance.now();
  try {
    await storage.run(scope, run);
  } finally {
    const { caller, errorCodes, rateLimit, document: _document, held, ...more } = scope;
    const { live, lastEventId: _lastEventId, serveEvents: _serveEvents, trace, ...known } = more;
    live?.end();
    held.dispose();
    if (known.operationType !== null || errorCodes.size > 0) {
      const durationMs = Math.round((performance.now() - startedAt) * 10) / 10;
      const cost = rateLimit?.cost ?? null;
      endSpan(scope);
      const { traceId } = trace;
      const told = { ...known, ...whoIs(caller), durationMs, cost, errorCodes: [...errorCodes] };
      logger.info(traceId === null ? told : { ...told, traceId }, 'graphql operation');
      meter?.operationEnded({ ...known, errorCodes, durationMs });
    }
  }
}

/** Ends the span of an operation that is answered, or of a subscription that has begun. Only the first call counts. */
export function endSpan(scope: OperationScope): void {
  const { trace, caller, operationType, operationName, errorCodes } = scope;
  if (!trace.isRecorded) return;
  const [errorCode] = errorCodes;
  trace.end({
    // As Semantic Conventions 1.45, "GraphQL server spans", has it: names are the callers' and would be too many.
    ...(operationType === null ? {} : { name: operationType }),
    attributes: {
      'graphql.operation.type': operationType ?? undefined,
      'graphql.operation.name': operationName ?? undefined,
      'posthorn.request.id': scope.requestId,
      'posthorn.transport': scope.transport,
      'posthorn.project.id': whoIs(caller)['projectId'] ?? undefined,
      'error.type': errorCode,
    },
    failed: errorCodes.has('INTERNAL'), // what the caller did wrong is no failure of ours
  });
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
  trace: OperationTrace = new OperationTrace(null),
): OperationScope {
  return {
    requestId,
    transport,
    caller,
    operationName: null,
    operationType: null,
    document: null,
    errorCodes: new Set(),
    rateLimit: null,
    held: new DisposableStack(),
    trace,
    lastEventId: null,
    live: null,
    serveEvents: null,
  };
}

/** Calls a function as part of an operation that goes on without it. */
export function inOperation<Result>(scope: OperationScope, call: () => Result): Result {
  return storage.run(scope, call);
}

/** Gives the scope that the calling code runs in. Throws outside of `runOperation`: that is a bug of the gateway. */
export function currentOperation(): OperationScope {
  const scope = storage.getStore();
  if (scope === undefined) throw new Error('no GraphQL operation is under way here');
  return scope;
}

/** Tells an operation under way that its key's holder has other rights now. */
export function changeCaller(scope: OperationScope, caller: Caller): void {
  scope.caller = caller;
  scope.live?.changeCaller(caller);
}
