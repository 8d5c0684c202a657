import { GraphQLError, Kind } from 'graphql';
import type { ASTVisitor, OperationDefinitionNode, SelectionNode, SelectionSetNode, ValidationContext } from 'graphql';

/** How large an operation is with its fragments spread out. */
interface Size {
  depth: number;
  aliasCount: number;
}

const nothing: Size = { depth: 0, aliasCount: 0 };

/**
 * Gives a validation rule that refuses operations nested deeper or aliased more often than allowed, with
 * QUERY_TOO_COMPLEX. Each fragment is measured once, however often it is spread, so measuring is linear in the document.
 */
export function documentLimits(limits: {
  depthMax: number;
  aliasesMax: number;
}): (context: ValidationContext) => ASTVisitor {
  // Yoga caches validation by the rules' names, and this one reads nothing but the document.
  return function DocumentLimits(context) {
    const fragmentSizes = new Map<string, Size>();
    return {
      OperationDefinition(operation) {
        const { depth, aliasCount } = measure(context, fragmentSizes, operation.selectionSet);
        if (depth > limits.depthMax) {
          report(context, operation, `This operation is nested ${depth} deep; at most ${limits.depthMax} is allowed.`);
        }
        if (aliasCount > limits.aliasesMax) {
          const counted = `This operation has ${aliasCount} aliases`;
          report(context, operation, `${counted}; at most ${limits.aliasesMax} are allowed.`);
        }
        return false;
      },
    };
  };
}

function report(context: ValidationContext, operation: OperationDefinitionNode, message: string): void {
  context.reportError(new GraphQLError(message, { nodes: operation, extensions: { code: 'QUERY_TOO_COMPLEX' } }));
}

function measure(context: ValidationContext, fragmentSizes: Map<string, Size>, set: SelectionSetNode): Size {
  let depth = 0;
  let aliasCount = 0;
  for (const selection of set.selections) {
    const size = measureSelection(context, fragmentSizes, selection);
    depth = Math.max(depth, size.depth);
    aliasCount = Math.min(aliasCount + size.aliasCount, Number.MAX_SAFE_INTEGER);
  }
  return { depth, aliasCount };
}

// oxlint-disable-next-line typescript/consistent-return -- the switch is exhaustive
function measureSelection(
  context: ValidationContext,
  fragmentSizes: Map<string, Size>,
  selection: SelectionNode,
): Size {
  switch (selection.kind) {
    case Kind.FIELD: {
      const inner = selection.selectionSet ? measure(context, fragmentSizes, selection.selectionSet) : nothing;
      const aliasCount = inner.aliasCount + (selection.alias ? 1 : 0);
      return { depth: selection.name.value.startsWith('__') ? 0 : inner.depth + 1, aliasCount };
    }
    case Kind.INLINE_FRAGMENT:
      return measure(context, fragmentSizes, selection.selectionSet);
    case Kind.FRAGMENT_SPREAD: {
      const name = selection.name.value;
      const known = fragmentSizes.get(name);
      if (known !== undefined) return known;
      const fragment = context.getFragment(name);
      if (!fragment) return nothing;
      fragmentSizes.set(name, nothing); // a fragment inside itself ends here; that it is there is another rule's to report
      const size = measure(context, fragmentSizes, fragment.selectionSet);
      fragmentSizes.set(name, size);
      return size;
    }
  }
}
