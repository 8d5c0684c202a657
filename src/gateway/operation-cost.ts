import {
  getNamedType,
  getNullableType,
  isCompositeType,
  isInputObjectType,
  isInterfaceType,
  isLeafType,
  isListType,
  isObjectType,
  Kind,
  valueFromASTUntyped,
} from 'graphql';
import { pageNodesDefault, pageNodesMax } from '../../schema/connection.ts';
import type {
  DocumentNode,
  FieldNode,
  FragmentDefinitionNode,
  GraphQLCompositeType,
  GraphQLField,
  GraphQLSchema,
  OperationDefinitionNode,
  SelectionNode,
  SelectionSetNode,
} from 'graphql';

/** An operation of a valid document, with its variables coerced. */
export interface MeasuredOperation {
  schema: GraphQLSchema;
  document: DocumentNode;
  operation: OperationDefinitionNode;
  variables: Readonly<Record<string, unknown>>;
}

/** What a selection costs: once, and again for each item of the connection's page that it is selected on. */
interface Cost {
  once: number;
  perItem: number;
}

interface Meter {
  schema: GraphQLSchema;
  variables: Readonly<Record<string, unknown>>;
  fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  fragmentCosts: Map<string, Cost>;
}

type Field = GraphQLField<unknown, unknown>;

const nothing: Cost = { once: 0, perItem: 0 };
const mutationCost = 10;
const subscriptionCost = 10;
/** Reading all of the schema keeps the executor busy for 10 ms and makes hundreds of kilobytes: once in an operation. */
const introspectionCosts: Readonly<Record<string, number>> = { __schema: 4_000, __type: 100 };
/** Items that a list is taken to have which has no arguments: secrets, headers, coming attempts. */
const listItemsAssumed = 10;

/**
 * Gives an operation's cost in points, from 1 to Number.MAX_SAFE_INTEGER: 1 for each object that it may load, so nodes of
 * a connection by its page and those of `nodes(ids)` by their number; a mutation 10 and one more for each object in a list
 * of its input; introspection by itself; 1 for a plain value under another name, which can be had many times. A field whose work is another says so: `extensions: { cost }` is its own cost
 * instead. What does not fit its type counts as absent: that it does not is the executor's to report. What `@skip` and
 * `@include` leave out is counted, and so are all fragments of an interface, of which only one can apply.
 * Linear in the document, since each fragment is measured once.
 */
export function operationCost({ schema, document, operation, variables }: MeasuredOperation): number {
  const root = schema.getRootType(operation.operation);
  if (!root) return 1;
  const fragments = document.definitions.filter((definition) => definition.kind === Kind.FRAGMENT_DEFINITION);
  const meter: Meter = {
    schema,
    variables,
    fragments: new Map(fragments.map((fragment) => [fragment.name.value, fragment])),
    fragmentCosts: new Map(),
  };
  return Math.max(1, costOfSelections(meter, root, operation.selectionSet).once);
}

function costOfSelections(meter: Meter, parent: GraphQLCompositeType, { selections }: SelectionSetNode): Cost {
  let { once, perItem } = nothing;
  for (const selection of selections) {
    const cost = costOfSelection(meter, parent, selection);
    once = bounded(once + cost.once);
    perItem = bounded(perItem + cost.perItem);
  }
  return { once, perItem };
}

// oxlint-disable-next-line typescript/consistent-return -- the switch is exhaustive
function costOfSelection(meter: Meter, parent: GraphQLCompositeType, selection: SelectionNode): Cost {
  switch (selection.kind) {
    case Kind.FIELD:
      return costOfField(meter, parent, selection);
    case Kind.INLINE_FRAGMENT:
      return costOfSelections(meter, namedType(meter, selection.typeCondition) ?? parent, selection.selectionSet);
    case Kind.FRAGMENT_SPREAD:
      return costOfFragment(meter, parent, selection.name.value);
  }
}

function costOfFragment(meter: Meter, parent: GraphQLCompositeType, name: string): Cost {
  const known = meter.fragmentCosts.get(name);
  if (known !== undefined) return known;
  const fragment = meter.fragments.get(name);
  if (fragment === undefined) return nothing;
  meter.fragmentCosts.set(name, nothing); // one inside itself ends here; validation has refused it
  const cost = costOfSelections(meter, namedType(meter, fragment.typeCondition) ?? parent, fragment.selectionSet);
  meter.fragmentCosts.set(name, cost);
  return cost;
}

function costOfField(meter: Meter, parent: GraphQLCompositeType, node: FieldNode): Cost {
  const name = node.name.value;
  if (name.startsWith('__')) return costOnce(introspectionCosts[name] ?? 0);
  const field = fieldOf(parent, name);
  if (field === undefined) return nothing;
  const type = getNamedType(field.type);
  const own = ownCost(meter, parent, { field, node });
  if (!isCompositeType(type) || node.selectionSet === undefined) return costOnce(own);
  const inner = costOfSelections(meter, type, node.selectionSet);
  if (isListType(getNullableType(field.type))) {
    return isConnection(parent)
      ? costOfPage(name, inner)
      : costOfList({ own, inner, asked: askedFor(meter, field, node) });
  }
  return costOnce(own + inner.once + (isConnection(type) ? pageSize(meter, node) * inner.perItem : 0));
}

/** An edge is no object of its own: its node is. */
function costOfPage(name: string, inner: Cost): Cost {
  return { once: 0, perItem: bounded(name === 'edges' ? Math.max(1, inner.once) : 1 + inner.once) };
}

function costOfList({ own, inner, asked }: { own: number; inner: Cost; asked: number | null }): Cost {
  return costOnce(asked === null ? own + listItemsAssumed * inner.once : asked * (1 + inner.once));
}

/** What the field costs without what is selected on it. */
function ownCost(
  meter: Meter,
  parent: GraphQLCompositeType,
  { field, node }: { field: Field; node: FieldNode },
): number {
  const { cost } = field.extensions;
  const declared = typeof cost === 'number' ? cost : null;
  if (parent === meter.schema.getMutationType()) {
    return (declared ?? mutationCost) + inputObjectCount(meter, field, node);
  }
  if (parent === meter.schema.getSubscriptionType()) return declared ?? subscriptionCost;
  const isFree = isLeafType(getNamedType(field.type)) && node.alias === undefined;
  return declared ?? (isFree ? 0 : 1);
}

/** How many nodes are asked for. More than a page may have is refused by the field itself. */
function pageSize(meter: Meter, node: FieldNode): number {
  const sizes = ['first', 'last'].map((name) => argumentOf(meter, node, name));
  const given = sizes.filter((size): size is number => typeof size === 'number' && Number.isInteger(size) && size >= 0);
  return given.length === 0 ? pageNodesDefault : Math.min(pageNodesMax, Math.max(...given));
}

/** How many items a list field is asked for: as many as the longest list among its arguments; null when it takes none. */
function askedFor(meter: Meter, field: Field, node: FieldNode): number | null {
  const lists = field.args.filter(({ type }) => isListType(getNullableType(type)));
  if (lists.length === 0) return null;
  return Math.max(...lists.map(({ name }) => lengthOf(argumentOf(meter, node, name))));
}

/** How many objects are in the lists of a field's input. */
function inputObjectCount(meter: Meter, field: Field, node: FieldNode): number {
  let count = 0;
  for (const argument of field.args) {
    const type = getNullableType(argument.type);
    const value = argumentOf(meter, node, argument.name);
    if (!isInputObjectType(type) || typeof value !== 'object' || value === null) continue;
    const given = new Map(Object.entries(value));
    for (const { name, type: inputType } of Object.values(type.getFields())) {
      const isObjectList = isListType(getNullableType(inputType)) && isInputObjectType(getNamedType(inputType));
      if (isObjectList) count += lengthOf(given.get(name));
    }
  }
  return count;
}

/** The value of an argument as it was given; undefined when it was not. */
function argumentOf({ variables }: Meter, node: FieldNode, name: string): unknown {
  const argument = node.arguments?.find((given) => given.name.value === name);
  return argument === undefined ? undefined : valueFromASTUntyped(argument.value, variables);
}

/** GraphQL takes a single value for a list of one. */
function lengthOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  return value === undefined || value === null ? 0 : 1;
}

function fieldOf(type: GraphQLCompositeType, name: string): Field | undefined {
  return isObjectType(type) || isInterfaceType(type) ? type.getFields()[name] : undefined;
}

function isConnection(type: GraphQLCompositeType): boolean {
  return fieldOf(type, 'pageInfo') !== undefined && fieldOf(type, 'edges') !== undefined;
}

function namedType({ schema }: Meter, condition: { name: { value: string } } | undefined): GraphQLCompositeType | null {
  const type = condition === undefined ? undefined : schema.getType(condition.name.value);
  return isCompositeType(type) ? type : null;
}

function costOnce(points: number): Cost {
  return { once: bounded(points), perItem: 0 };
}

function bounded(points: number): number {
  return Math.min(points, Number.MAX_SAFE_INTEGER);
}
