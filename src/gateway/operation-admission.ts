import { getOperationAST, getVariableValues, GraphQLError, OperationTypeNode } from 'graphql';
import { withoutSuggestion } from './introspection.ts';
import { withExtensions } from './mask-error.ts';
import { operationCost } from './operation-cost.ts';
import { createPointsInFlight, type PointsInFlightLimits } from './points-in-flight.ts';
import { createProjectSubscriptions, type ProjectSubscriptionsLimits } from './project-subscriptions.ts';
import type { GraphQLSchema, OperationDefinitionNode } from 'graphql';
import type { OperationScope } from './operation-scope.ts';
import type { ChargeOperation } from './operation-rate.ts';

/** What a request says of its operation beside the document. */
export interface RequestedOperation {
  operationName?: unknown;
  variables?: unknown;
}

/**
 * Lets an operation, whose document is valid and in its scope, pass to its execution, once for each, and tells the scope
 * what it turned out to be. Throws one GraphQLError or an AggregateError of several: BAD_USER_INPUT for variables that do not fit their types, QUERY_TOO_COMPLEX,
 * RATE_LIMITED. What it takes is given back when the scope ends.
 */
export type AdmitOperation = (scope: OperationScope, requested: RequestedOperation) => Promise<void>;

export interface OperationAdmissionOptions {
  schema: GraphQLSchema;
  /** Null: operations are not charged for. */
  charge: ChargeOperation | null;
  /** Whether errors may name parts of the schema that were not asked for. */
  introspection: boolean;
  limits: { costMax: number; subscriptionCostMax: number } & PointsInFlightLimits & ProjectSubscriptionsLimits;
}

/** Who has no key can read the schema, which is work too: all of them together may do as much of it as one key. */
const nobodysAccount = 'nobody';

/** Creates the gate behind validation. It reads variables, so nothing of it may be cached by document. */
export function createOperationAdmission(options: OperationAdmissionOptions): AdmitOperation {
  const { schema, charge, limits } = options;
  const holdSubscription = createProjectSubscriptions(limits);
  const holdPoints = createPointsInFlight(limits);
  return async (scope, { operationName, variables }) => {
    const { document, caller } = scope;
    const operation = begin(scope, operationName);
    if (document === null || operation === null) return; // Each transport says so in its own way.
    const cost = operationCost({ schema, document, operation, variables: coerced(operation, variables, options) });
    const isLive = operation.operation === OperationTypeNode.SUBSCRIPTION;
    requireAffordable(cost, isLive ? Math.min(limits.costMax, limits.subscriptionCostMax) : limits.costMax);
    if (caller?.kind === 'ADMINISTRATOR') return; // Administration costs nothing.
    // A subscription is under way for as long as it likes, and what waits for its reader is bounded by itself.
    const take = async (projectId: string): Promise<Disposable> =>
      isLive ? holdSubscription(projectId, { document, variables }) : await holdPoints(projectId, cost);
    if (caller !== null) holdFor(scope, await take(caller.projectId));
    if (charge !== null) await pay(charge, scope, { caller, cost });
  };
}

/** Holds what the operation took until its scope ends; one whose scope has ended meanwhile gives it back at once. */
function holdFor(scope: OperationScope, taken: Disposable): void {
  if (scope.held.disposed) taken[Symbol.dispose]();
  else scope.held.use(taken);
}

/** Finds the operation and says in its scope which it is; null when the document has no such one, or several. */
function begin(scope: OperationScope, operationName: unknown): OperationDefinitionNode | null {
  const name = typeof operationName === 'string' ? operationName : null;
  const operation = scope.document && getOperationAST(scope.document, name);
  if (!operation) return null;
  scope.operationName = operation.name?.value ?? null;
  scope.operationType = operation.operation;
  return operation;
}

async function pay(
  charge: ChargeOperation,
  scope: OperationScope,
  { caller, cost }: { caller: { apiKeyId: string } | null; cost: number },
): Promise<void> {
  const { status, refusal } = await charge(caller?.apiKeyId ?? nobodysAccount, cost);
  if (caller !== null) scope.rateLimit = status;
  if (refusal !== null) throw refusal;
}

/** The executor refuses such variables too, but without a code that would tell the caller's mistake from ours. */
function coerced(
  { variableDefinitions = [] }: OperationDefinitionNode,
  variables: unknown,
  { schema, introspection }: OperationAdmissionOptions,
): Record<string, unknown> {
  const given = typeof variables === 'object' && variables !== null ? { ...variables } : {};
  const { errors, coerced: values } = getVariableValues(schema, variableDefinitions, given, { maxErrors: 10 });
  if (values !== undefined) return values;
  const extensions = { code: 'BAD_USER_INPUT', http: { status: 400, spec: true } };
  throw new AggregateError(
    errors.map((error) =>
      withExtensions(error, extensions, introspection ? error.message : withoutSuggestion(error.message)),
    ),
  );
}

function requireAffordable(cost: number, costMax: number): void {
  if (cost <= costMax) return;
  const message =
    `This operation costs ${cost} points; at most ${costMax} are allowed. ` +
    'Ask for smaller pages, or for less within them.';
  throw new GraphQLError(message, { extensions: { code: 'QUERY_TOO_COMPLEX', http: { status: 400, spec: true } } });
}
