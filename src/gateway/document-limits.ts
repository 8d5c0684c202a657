import { GraphQLError, Kind } from 'graphql';
import type {
  ASTNode,
  ASTVisitor,
  FragmentDefinitionNode,
  OperationDefinitionNode,
  SelectionNode,
  SelectionSetNode,
  ValidationContext,
} from 'graphql';

/** How large an operation is with its fragments spread out. */
interface Size {
  depth: number;
  aliasCount: number;
  /** Fields of the selection itself, not those within them. */
  topFieldCount: number;
  fieldCount: number;
  directiveCount: number;
}

/** What a document may be at most. */
export interface DocumentLimits {
  depthMax: number;
  aliasesMax: number;
  rootFieldsMax: number;
  fieldsMax: number;
  directivesMax: number;
}

const nothing: Size = { depth: 0, aliasCount: 0, topFieldCount: 0, fieldCount: 0, directiveCount: 0 };

/**
 * Gives a validation rule that refuses operations which are deeper or larger than allowed, with QUERY_TOO_COMPLEX. Each
 * fragment is measured once, however often it is spread, so measuring is linear in the document; validation by the rules
 * of the specification is not, so this one goes first and alone.
 */
export function documentLimits(limits: DocumentLimits): (context: ValidationContext) => ASTVisitor {
  return function DocumentLimits(context) {
    const fragmentSizes = new Map<string, Size>();
    let isRefused = false; // once is enough: fragments within fragments would all say the same
    const check = (definition: OperationDefinitionNode | FragmentDefinitionNode): false => {
      const size = directed(measure(context, fragmentSizes, definition.selectionSet), definition);
      const excess = findExcess(size, definition.kind, limits);
      if (excess !== null && !isRefused) {
        isRefused = true;
        context.reportError(new GraphQLError(excess, { nodes: definition, extensions: { code: 'QUERY_TOO_COMPLEX' } }));
      }
      return false;
    };
    return { OperationDefinition: check, FragmentDefinition: check };
  };
}

/** Says by what a definition is too large. A fragment counts for itself only where validation looks at it by itself. */
function findExcess(size: Size, kind: Kind, limits: DocumentLimits): string | null {
  const isOperation = kind === Kind.OPERATION_DEFINITION;
  const what = isOperation ? 'This operation' : 'This fragment';
  const whole = [
    { is: `is nested ${size.depth} deep`, count: size.depth, max: limits.depthMax },
    { is: `has ${size.aliasCount} aliases`, count: size.aliasCount, max: limits.aliasesMax },
    { is: `has ${size.topFieldCount} root fields`, count: size.topFieldCount, max: limits.rootFieldsMax },
  ];
  const each = [
    { is: `has ${size.fieldCount} fields`, count: size.fieldCount, max: limits.fieldsMax },
    { is: `has ${size.directiveCount} directives`, count: size.directiveCount, max: limits.directivesMax },
  ];
  const excess = [...(isOperation ? whole : []), ...each].find(({ count, max }) => count > max);
  return excess === undefined ? null : `${what} ${excess.is}; at most ${excess.max} are allowed.`;
}

function measure(context: ValidationContext, fragmentSizes: Map<string, Size>, set: SelectionSetNode): Size {
  let whole = nothing;
  for (const selection of set.selections) whole = add(whole, measureSelection(context, fragmentSizes, selection));
  return whole;
}

function add(one: Size, other: Size): Size {
  return {
    depth: Math.max(one.depth, other.depth),
    aliasCount: sum(one.aliasCount, other.aliasCount),
    topFieldCount: sum(one.topFieldCount, other.topFieldCount),
    fieldCount: sum(one.fieldCount, other.fieldCount),
    directiveCount: sum(one.directiveCount, other.directiveCount),
  };
}

/** Fragments that spread one another twice each make numbers of any size. */
function sum(one: number, other: number): number {
  return Math.min(one + other, Number.MAX_SAFE_INTEGER);
}

function measureSelection(
  context: ValidationContext,
  fragmentSizes: Map<string, Size>,
  selection: SelectionNode,
): Size {
  return directed(measureUndirected(context, fragmentSizes, selection), selection);
}

function directed(size: Size, { directives = [] }: { directives?: readonly ASTNode[] | undefined }): Size {
  return { ...size, directiveCount: size.directiveCount + directives.length };
}

// oxlint-disable-next-line typescript/consistent-return -- the switch is exhaustive
function measureUndirected(
  context: ValidationContext,
  fragmentSizes: Map<string, Size>,
  selection: SelectionNode,
): Size {
  switch (selection.kind) {
    case Kind.FIELD: {
      const inner = selection.selectionSet ? measure(context, fragmentSizes, selection.selectionSet) : nothing;
      return {
        // Introspection has a rule of its own.
        depth: selection.name.value.startsWith('__') ? 0 : inner.depth + 1,
        aliasCount: inner.aliasCount + (selection.alias ? 1 : 0),
        topFieldCount: 1,
        fieldCount: inner.fieldCount + 1,
        directiveCount: inner.directiveCount,
      };
    }
    case Kind.INLINE_FRAGMENT:
      return measure(context, fragmentSizes, selection.selectionSet);
    case Kind.FRAGMENT_SPREAD:
      return measureFragment(context, fragmentSizes, selection.name.value);
  }
}

function measureFragment(context: ValidationContext, fragmentSizes: Map<string, Size>, name: string): Size {
  const known = fragmentSizes.get(name);
  if (known !== undefined) return known;
  const fragment = context.getFragment(name);
  if (!fragment) return nothing;
  fragmentSizes.set(name, nothing); // a fragment inside itself ends here; that it is there is another rule's to report
  const size = measure(context, fragmentSizes, fragment.selectionSet);
  fragmentSizes.set(name, size);
  return size;
}
