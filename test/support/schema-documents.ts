import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLNamedOutputType,
  type GraphQLObjectType,
  type GraphQLSchema,
  getNamedType,
  isAbstractType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isOutputType,
  isRequiredArgument,
  parse,
  TypeInfo,
  visit,
  visitWithTypeInfo,
} from 'graphql';

// Documents made from the schema itself, and where ids stand in what a field takes.

export type Arguments = Record<string, unknown>;

/** A field of an object type, named as in `Query.webhook`. */
export interface SchemaField {
  name: string;
  parent: GraphQLObjectType;
  field: GraphQLField<unknown, unknown>;
}

/** The way from a field's arguments to a value. */
export type ValuePath = readonly (string | number)[];

/** An id in a field's arguments: one, or a list of them. */
export interface GivenId {
  path: ValuePath;
  value: string | readonly string[];
}

/** Objects within objects that a made selection goes down; what only wraps another type does not count. */
const depthMax = 2;
const wrapperName = /(Payload|Connection|Edge)$/;

/** Every field of every object type, introspection left out. */
export function fieldsOf(schema: GraphQLSchema): SchemaField[] {
  return Object.values(schema.getTypeMap())
    .filter((type) => isObjectType(type) && !type.name.startsWith('__'))
    .flatMap((parent) =>
      isObjectType(parent)
        ? Object.values(parent.getFields()).map((field) => ({ name: `${parent.name}.${field.name}`, parent, field }))
        : [],
    );
}

/** Whether the field is one that an operation begins with. */
export function isRootField({ parent }: SchemaField): boolean {
  return ['Query', 'Mutation', 'Subscription'].includes(parent.name);
}

/** The dotted paths at which a field takes an id or ids, in inputs of inputs too. */
export function idPathsOf({ field }: SchemaField): string[] {
  return field.args.flatMap((arg) => idPathsBelow(arg, '', []));
}

function idPathsBelow(input: GraphQLArgument | GraphQLInputField, above: string, seen: readonly string[]): string[] {
  const type = getNamedType(input.type);
  const path = above + input.name;
  if (type.name === 'ID') return [path];
  if (!isInputObjectType(type) || seen.includes(type.name)) return [];
  return Object.values(type.getFields()).flatMap((each) => idPathsBelow(each, `${path}.`, [...seen, type.name]));
}

/** The ids in the arguments. */
export function givenIds({ field }: SchemaField, given: Arguments): GivenId[] {
  return field.args.flatMap((arg) => [...idsWithin(arg.type, given[arg.name], [arg.name])]);
}

function* idsWithin(type: GraphQLInputType, value: unknown, path: ValuePath): Generator<GivenId> {
  if (value === undefined || value === null) return;
  if (isNonNullType(type)) yield* idsWithin(type.ofType, value, path);
  else if (isListType(type)) yield* idsInList(type.ofType, value, path);
  else if (isInputObjectType(type)) {
    for (const field of Object.values(type.getFields())) {
      yield* idsWithin(field.type, (value as Arguments)[field.name], [...path, field.name]);
    }
  } else if (type.name === 'ID' && typeof value === 'string') yield { path, value };
}

function* idsInList(type: GraphQLInputType, value: unknown, path: ValuePath): Generator<GivenId> {
  if (!Array.isArray(value)) throw new TypeError(`${path.join('.')} is no list`);
  if (getNamedType(type).name === 'ID') yield { path, value: value.map(String) };
  else for (const [index, item] of value.entries()) yield* idsWithin(type, item, [...path, index]);
}

/** The arguments with another value at the path. */
export function replacedAt(given: Arguments, path: ValuePath, value: unknown): Arguments {
  const copy = structuredClone(given);
  let place: Record<string | number, unknown> = copy;
  for (const step of path.slice(0, -1)) place = place[step] as Record<string | number, unknown>;
  place[path.at(-1) ?? ''] = value;
  return copy;
}

/** How a made document asks for a field. */
export interface MadeDocument {
  query: string;
  variables: Arguments;
}

/** What stands between the root and a field of an object: a root field that gives such an object, by its arguments. */
export interface Within {
  field: string;
  args: Arguments;
}

/**
 * Asks for a field with the arguments, and selects everything below it. `argumentsOf` gives the arguments, as text, of
 * the selected fields that need some; `on` the type that an interface is expected to be.
 */
export function documentFor(
  schema: GraphQLSchema,
  { parent, field }: SchemaField,
  args: Arguments,
  options: { argumentsOf: Readonly<Record<string, string>>; on: string | null; within: Within | null },
): MadeDocument {
  const { within, on, argumentsOf } = options;
  const type = on === null ? getNamedType(field.type) : schema.getType(on);
  if (!isOutputType(type)) throw new Error(`there is no type ${on}`);
  const below = selectionOf(schema, getNamedType(type), depthMax, argumentsOf);
  const selection = on === null ? below : `{ __typename ... on ${on} ${below} }`;
  const inner = call(field, args, '');
  const body = `${inner.text} ${selection}`;
  if (within === null) return operationOf(parent.name.toLowerCase(), [inner], body);
  const root = schema.getQueryType()?.getFields()[within.field];
  if (root === undefined) throw new Error(`there is no Query.${within.field}`);
  const outer = call(root, within.args, 'outer_');
  return operationOf('query', [outer, inner], `${outer.text} { ${body} }`);
}

interface Call {
  variables: string[];
  text: string;
  values: Arguments;
}

function operationOf(operation: string, calls: readonly Call[], body: string): MadeDocument {
  const declared = calls.flatMap(({ variables }) => variables).join(', ');
  const name = declared === '' ? 'Tried' : `Tried(${declared})`;
  const variables = Object.assign({}, ...calls.map(({ values }) => values)) as Arguments;
  return { query: `${operation} ${name} { ${body} }`, variables };
}

function call(field: GraphQLField<unknown, unknown>, args: Arguments, prefix: string): Call {
  const given = field.args.filter(({ name }) => args[name] !== undefined);
  const unknown = Object.keys(args).filter((name) => !field.args.some((arg) => arg.name === name));
  if (unknown.length > 0) throw new Error(`${field.name} takes no ${unknown.join(', ')}`);
  const passed = given.map(({ name }) => `${name}: $${prefix}${name}`).join(', ');
  return {
    variables: given.map(({ name, type }) => `$${prefix}${name}: ${String(type)}`),
    text: passed === '' ? field.name : `${field.name}(${passed})`,
    values: Object.fromEntries(given.map(({ name }) => [`${prefix}${name}`, args[name]])),
  };
}

/** Everything of the type down to the depth: leaves, and objects of objects. */
function selectionOf(
  schema: GraphQLSchema,
  type: GraphQLNamedOutputType,
  depth: number,
  argumentsOf: Readonly<Record<string, string>>,
): string {
  if (isLeafType(type)) return '';
  if (isAbstractType(type)) {
    const below = schema.getPossibleTypes(type).map((possible) => `... on ${possible.name} { __typename }`);
    return `{ __typename ${below.join(' ')} }`;
  }
  if (!isObjectType(type)) return '';
  const parts = Object.values(type.getFields()).flatMap((field) => {
    const named = getNamedType(field.type);
    const left = wrapperName.test(named.name) ? depth : depth - 1;
    if (!isLeafType(named) && left < 0) return [];
    // A page is selected whole once, by its nodes.
    const below =
      type.name.endsWith('Edge') && !isLeafType(named)
        ? '{ __typename }'
        : selectionOf(schema, named, left, argumentsOf);
    return [`${field.name}${argumentsText(type, field, argumentsOf)} ${below}`.trim()];
  });
  return `{ ${parts.join(' ')} }`;
}

function argumentsText(
  type: GraphQLObjectType,
  field: GraphQLField<unknown, unknown>,
  argumentsOf: Readonly<Record<string, string>>,
): string {
  const given = argumentsOf[`${type.name}.${field.name}`];
  if (given !== undefined) return given;
  const required = field.args.filter((arg) => isRequiredArgument(arg));
  if (required.length > 0) {
    throw new Error(
      `${type.name}.${field.name} needs ${required.map(({ name }) => name).join(', ')}: say what in argumentsOf`,
    );
  }
  return field.args.some(({ name }) => name === 'first') ? '(first: 2)' : '';
}

/** Every field that the document selects, named as in `Webhook.url`. */
export function selectedFields(schema: GraphQLSchema, query: string): Set<string> {
  const selected = new Set<string>();
  const info = new TypeInfo(schema);
  visit(
    parse(query),
    visitWithTypeInfo(info, {
      Field: ({ name }) => void selected.add(`${info.getParentType()?.name}.${name.value}`),
    }),
  );
  return selected;
}
