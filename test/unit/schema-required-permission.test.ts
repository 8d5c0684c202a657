import SchemaBuilder from '@pothos/core';
import { getDatamodel } from '../../prisma/generated/pothos-types.ts';
import { expect, test } from 'vitest';
import requiredPermission from '../../schema/required-permission.ts';

test('a root field without a permission breaks the build of the schema', () => {
  const builder = new SchemaBuilder({
    plugins: [requiredPermission],
    prisma: { client: () => ({ $connect: async () => undefined }), dmmf: getDatamodel() },
  });
  builder.queryType();
  // @ts-expect-error -- its type demands `needs` too
  builder.queryField('open', (t) => t.string({ resolve: () => 'to all' }));
  expect(() => builder.toSchema()).toThrow('Query.open does not say which permission it needs');
});
