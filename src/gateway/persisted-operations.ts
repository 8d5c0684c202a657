import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { GraphQLError, parse, validate } from 'graphql';
import { z } from 'zod';
import type { GraphQLSchema } from 'graphql';

/** Documents by their SHA-256 in hexadecimal digits. */
export type PersistedOperations = ReadonlyMap<string, string>;

/** What a request names its operation by, whichever of the customary ways it uses. */
const named = z.object({
  documentId: z.string().optional(),
  extensions: z
    .object({
      documentId: z.string().optional(),
      persistedQuery: z.object({ sha256Hash: z.string() }).optional(),
    })
    .nullish(),
});

const file = z.record(z.string(), z.string());

/**
 * Loads the only operations that may be executed: JSON of ids to documents, as graphql-codegen's client preset writes it
 * with `hashAlgorithm: 'sha256'`. Throws one sentence that names the file and what is wrong with it.
 */
export async function loadPersistedOperations(path: string, schema: GraphQLSchema): Promise<PersistedOperations> {
  const operations = new Map<string, string>();
  for (const [id, text] of Object.entries(await readOperations(path))) {
    const hash = hashOf(id);
    const problem = problemOf(hash, text, schema);
    if (problem !== null) throw new Error(`POSTHORN_PERSISTED_OPERATIONS: ${JSON.stringify(id)} in ${path} ${problem}`);
    operations.set(hash, text);
  }
  return operations;
}

/** Gives the document that a request means. Throws PERSISTED_ONLY when it names none that is known. */
export function findPersistedOperation(operations: PersistedOperations, request: unknown): string {
  const parsed = named.safeParse(request);
  const { documentId, extensions } = parsed.data ?? {};
  const id = documentId ?? extensions?.documentId ?? extensions?.persistedQuery?.sha256Hash;
  if (id === undefined) {
    const ways = 'documentId or extensions.persistedQuery.sha256Hash';
    throw persistedOnly(`Only persisted operations are executed here: name one by ${ways}.`);
  }
  const document = operations.get(hashOf(id));
  if (document === undefined) throw persistedOnly(`No persisted operation has the id ${shortened(id)}.`);
  return document;
}

/** An id as it is kept: without the prefix that GraphQL over HTTP, appendix A, puts before a hash. */
function hashOf(id: string): string {
  return id.replace(/^sha256:/, '').toLowerCase();
}

async function readOperations(path: string): Promise<Record<string, string>> {
  try {
    const parsed = file.safeParse(JSON.parse(await readFile(path, 'utf8')));
    if (parsed.success) return parsed.data;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`POSTHORN_PERSISTED_OPERATIONS: ${path} cannot be read: ${reason}.`, { cause });
  }
  throw new Error(`POSTHORN_PERSISTED_OPERATIONS: ${path} must be a JSON object of ids to documents.`);
}

function problemOf(hash: string, text: string, schema: GraphQLSchema): string | null {
  if (createHash('sha256').update(text).digest('hex') !== hash) return 'is not the SHA-256 of its document.';
  try {
    const [error] = validate(schema, parse(text));
    return error === undefined ? null : `does not fit the schema: ${error.message}`;
  } catch (error) {
    return `cannot be parsed: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function persistedOnly(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'PERSISTED_ONLY', http: { status: 400, spec: true } } });
}

function shortened(id: string): string {
  return JSON.stringify(id.length > 80 ? `${id.slice(0, 80)}…` : id);
}
