import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { lexicographicSortSchema, printSchema } from 'graphql';
import { schema } from './index.ts';

// `node schema/print.ts` writes schema.graphql; with `--check` it only says whether that is up to date.

const file = join(import.meta.dirname, 'schema.graphql');
const printed = `${printSchema(lexicographicSortSchema(schema))}\n`;

if (process.argv.includes('--check')) {
  const committed = await readFile(file, 'utf8').catch(() => '');
  if (committed !== printed) {
    process.stderr.write('schema/schema.graphql is not what the schema prints: run `node schema/print.ts`.\n');
    process.exitCode = 1;
  }
} else {
  await writeFile(file, printed);
}
