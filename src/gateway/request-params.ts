import { GraphQLError } from 'graphql';
import type { GraphQLParams } from 'graphql-yoga';

/** As Yoga asks for it: what a request says, which Yoga then checks entry by entry. A list is a batch, which it refuses. */
type Params = GraphQLParams | GraphQLParams[];

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Reads the JSON body of a POST. Throws BAD_USER_INPUT for what is not UTF-8, rather than to guess what was meant, or not JSON. */
export async function parseJsonBody(request: Request): Promise<Params> {
  const bytes = await request.arrayBuffer();
  return parseJson(decoded(bytes), 'The body');
}

/** Reads the query string of a GET. Throws BAD_USER_INPUT for variables and extensions that are not JSON. */
export function parseQueryString(request: Request): Params {
  const given = new URL(request.url).searchParams;
  const query = given.get('query');
  const operationName = given.get('operationName');
  const params: GraphQLParams & { documentId?: string } = {};
  if (query !== null) params.query = query;
  if (operationName) params.operationName = operationName;
  for (const name of ['variables', 'extensions'] as const) {
    const text = given.get(name);
    if (text) params[name] = parseJson(text, `"${name}"`);
  }
  const documentId = given.get('documentId');
  if (documentId !== null) params.documentId = documentId;
  return params;
}

function decoded(bytes: ArrayBuffer): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw badRequest('The body is not UTF-8.');
  }
}

function parseJson(text: string, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest(`${what} is not JSON: ${error instanceof Error ? error.message : String(error)}.`);
  }
  if (isObject(value)) return value;
  throw badRequest(`${what} must be a JSON object.`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function badRequest(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', http: { status: 400 } } });
}
