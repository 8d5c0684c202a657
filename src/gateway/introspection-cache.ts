import { Kind, type DocumentNode, type ExecutionResult } from 'graphql';
import type { Plugin } from 'graphql-yoga';

const rootFields: ReadonlySet<string> = new Set(['__schema', '__type', '__typename']);

/**
 * Executes a document that asks for nothing but the schema, by no variables, once: the answer is the same for everybody,
 * and GraphiQL's takes a hundred times as long as a usual operation. It is charged for all the same. Must be the last
 * plugin: those behind it do not see what is answered from memory.
 */
export function useIntrospectionCache(): Plugin {
  const answers = new WeakMap<DocumentNode, ExecutionResult>();
  return {
    onExecute({ args: { document }, setResultAndStopExecution }) {
      const known = answers.get(document);
      if (known !== undefined) setResultAndStopExecution({ ...known });
      const isNew = known === undefined && asksForSchemaOnly(document);
      return {
        onExecuteDone({ result }) {
          if (isNew && 'data' in result && result.errors === undefined) {
            answers.set(document, { data: result.data ?? null });
          }
        },
      };
    },
  };
}

function asksForSchemaOnly({ definitions }: DocumentNode): boolean {
  const operations = definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  return (
    operations.length === 1 &&
    operations.every(
      ({ variableDefinitions = [], selectionSet: { selections } }) =>
        variableDefinitions.length === 0 &&
        selections.every((selection) => selection.kind === Kind.FIELD && rootFields.has(selection.name.value)),
    )
  );
}
