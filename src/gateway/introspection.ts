import { GraphQLError } from 'graphql';
import type { ASTVisitor, ValidationContext } from 'graphql';

const introspectionFields: ReadonlySet<string> = new Set(['__schema', '__type']);
const suggestion = / ?Did you mean .*$/s;

/** A validation rule that refuses to tell the schema, with FORBIDDEN; `__typename` tells nothing that one did not ask for. */
export function introspectionIsOff(context: ValidationContext): ASTVisitor {
  return {
    Field(field) {
      if (!introspectionFields.has(field.name.value)) return;
      const message = `Introspection is off here: ${field.name.value} is not answered.`;
      context.reportError(new GraphQLError(message, { nodes: field, extensions: { code: 'FORBIDDEN' } }));
    },
  };
}

/** Takes away the names that an error suggests: together they are the schema. */
export function withoutSuggestion(message: string): string {
  return message.replace(suggestion, '');
}
