import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findBreakingChanges } from './breaking-changes.ts';

// released.graphql is the API that clients have been promised. `node schema/release.ts` makes schema.graphql that promise;
// with `--check` it only says what schema.graphql takes back of it.

const released = join(import.meta.dirname, 'released.graphql');
const current = join(import.meta.dirname, 'schema.graphql');

if (process.argv.includes('--check')) {
  const changes = await findBreakingChanges(await readFile(released, 'utf8'), await readFile(current, 'utf8'));
  for (const change of changes) process.stderr.write(`${change}\n`);
  if (changes.length > 0) {
    process.stderr.write(
      'schema/schema.graphql breaks clients of schema/released.graphql. Keep what they use and deprecate it; ' +
        'or, if this release is meant to break them, run `npm run release:schema`.\n',
    );
    process.exitCode = 1;
  }
} else {
  await copyFile(current, released);
}
