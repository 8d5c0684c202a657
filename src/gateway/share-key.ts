import { getOperationAST, getVariableValues, Kind, print, visit } from 'graphql';
import type { DocumentNode, ExecutionArgs, OperationDefinitionNode } from 'graphql';
import type { Caller } from '../../schema/context.ts';

/**
 * What subscriptions have in common that give everyone the same results: the document's text, the operation, the variables
 * but the one that only says where to start, the project and the permissions.
 */
export function shareKey(args: ExecutionArgs, caller: Caller, startArgument: string | null): string {
  const { schema, document, operationName, variableValues } = args;
  const operation = getOperationAST(document, operationName);
  if (!operation) throw new Error('this subscription has no operation');
  const { coerced = {} } = getVariableValues(schema, operation.variableDefinitions ?? [], variableValues ?? {});
  const start = startArgument === null ? null : findStartVariable(document, operation, startArgument);
  const variables = Object.entries(coerced).filter(([name]) => name !== start);
  return JSON.stringify([
    rightsOf(caller),
    operation.name?.value ?? null,
    variables,
    document.loc?.source.body ?? print(document),
  ]);
}

/** Whether two callers see the same, so that their subscriptions may be shared. */
export function haveSameRights(one: Caller, other: Caller): boolean {
  return rightsOf(one) === rightsOf(other);
}

function rightsOf({ projectId, permissions }: Caller): string {
  return [projectId, ...[...permissions].toSorted()].join(' ');
}

/** The variable that is given to the argument of the subscription's field and to nothing else; null when there is none. */
function findStartVariable(
  document: DocumentNode,
  operation: OperationDefinitionNode,
  startArgument: string,
): string | null {
  const [field] = operation.selectionSet.selections;
  if (field?.kind !== Kind.FIELD) return null;
  const value = field.arguments?.find(({ name }) => name.value === startArgument)?.value;
  if (value?.kind !== Kind.VARIABLE) return null;
  const name = value.name.value;
  let useCount = 0;
  visit(document, {
    VariableDefinition: () => false,
    Variable: (variable) => {
      if (variable.name.value === name) useCount += 1;
    },
  });
  return useCount === 1 ? name : null;
}
