import SchemaBuilder from '@pothos/core';
import PrismaPlugin from '@pothos/plugin-prisma';
import RelayPlugin from '@pothos/plugin-relay';
import type PrismaTypes from '../prisma/generated/pothos-types.ts';
import { getDatamodel } from '../prisma/generated/pothos-types.ts';
import type { SchemaContext } from './context.ts';
import requiredPermission from './required-permission.ts';

/** What the builder's types are made from; `totalCount` counts when it is called, so that nobody pays for it unasked. */
export interface BuilderTypes {
  Context: SchemaContext;
  PrismaTypes: PrismaTypes;
  Connection: { totalCount: () => Promise<number | null> };
  DefaultFieldNullability: false;
  DefaultEdgesNullability: { list: false; items: false };
  DefaultNodeNullability: false;
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: { Input: Date; Output: Date };
    JSON: { Input: unknown; Output: unknown };
  };
}

/** The one builder that every type of the schema is added to. Fields are non-null unless they say otherwise. */
export const builder = new SchemaBuilder<BuilderTypes>({
  plugins: [requiredPermission, RelayPlugin, PrismaPlugin],
  defaultFieldNullability: false,
  prisma: {
    client: (context) => context.database.prisma,
    dmmf: getDatamodel(),
  },
  relay: {
    cursorType: 'String',
    // Both are in node.ts, scoped to the caller's project.
    nodeQueryOptions: false,
    nodesQueryOptions: false,
    // Ids are TypeIDs already, which name their type.
    encodeGlobalID: (_typename, id) => String(id),
    nodeTypeOptions: { description: 'Anything with an id, to be fetched again by it.' },
    idFieldOptions: { description: 'The id, which also names the type by its prefix.' },
    edgesFieldOptions: { nullable: { list: false, items: false }, description: 'The page, each with its cursor.' },
    nodeFieldOptions: { nullable: false, description: 'The thing itself.' },
    nodesOnConnection: { description: 'The page, without cursors.' },
    cursorFieldOptions: { description: 'The place of this node: pass it as `after` or `before`.' },
    pageInfoFieldOptions: { description: 'Where this page lies.' },
    pageInfoTypeOptions: { description: 'Where a page lies in its list.' },
    hasNextPageFieldOptions: { description: 'Whether anything follows this page.' },
    hasPreviousPageFieldOptions: { description: 'Whether anything precedes this page.' },
    startCursorFieldOptions: { description: 'The cursor of the first node; null on an empty page.' },
    endCursorFieldOptions: { description: 'The cursor of the last node; null on an empty page.' },
    firstArgOptions: { description: 'How many from the start of the list, 0 to 100; 20 when neither is given.' },
    lastArgOptions: { description: 'How many from the end of the list, 0 to 100; absent when `first` is given.' },
    afterArgOptions: {
      description:
        'Only what follows this cursor, which stays good when its row is deleted; absent begins with the first.',
    },
    beforeArgOptions: {
      description:
        'Only what precedes this cursor, which stays good when its row is deleted; absent ends with the last.',
    },
  },
});

builder.queryType({ description: 'What an API key or access token can read.' });
builder.mutationType({ description: 'What an API key or access token can do, and what the administrator can.' });
builder.subscriptionType({ description: 'What an API key or access token can watch live.' });

builder.globalConnectionField('totalCount', (t) =>
  t.int({
    description:
      'How many there are in all, with the same filter; counted only when asked for. Null when they are too many to be counted in time.',
    nullable: true,
    extensions: { cost: 50 },
    resolve: (connection) => connection.totalCount(),
  }),
);
