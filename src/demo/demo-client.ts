import { print } from 'graphql';
import { createClient } from 'graphql-ws';
import { z } from 'zod';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import type { DemoFacts } from '../demo-project.ts';

const requestLimitMs = 15_000;

/** Takes what a subscription brings. */
export interface DemoSink<Data> {
  next(data: Data): void;
  /** Called once when the subscription is over, whichever side ended it. */
  ended(reason: Error): void;
}

/** A GraphQL client of one project: queries and mutations by HTTP, subscriptions by WebSocket. */
export interface DemoClient extends AsyncDisposable {
  /** Executes the operation. Rejects with the server's words when it answers with an error, and after 15 s. */
  request<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Promise<Data>;
  /** Starts the subscription; the function that it gives ends it. */
  subscribe<Data, Variables extends Record<string, unknown>>(
    document: TypedDocumentNode<Data, Variables>,
    variables: Variables,
    sink: DemoSink<Data>,
  ): () => void;
}

const answer = z.object({
  data: z.record(z.string(), z.unknown()).nullish(),
  errors: z.array(z.object({ message: z.string() })).optional(),
});

/** Makes the client; it opens its socket with the first subscription. */
export function createDemoClient(facts: DemoFacts): DemoClient {
  const authorization = `Bearer ${facts.apiKey}`;
  const socket = createClient({ url: facts.websocketUrl, connectionParams: { authorization }, retryAttempts: 0 });
  return {
    request: async (document, variables) => {
      const response = await fetch(facts.graphqlUrl, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization },
        body: JSON.stringify({ query: print(document), variables }),
        signal: AbortSignal.timeout(requestLimitMs),
      });
      return parseData(document, await response.json());
    },
    subscribe: (document, variables, sink) => {
      return socket.subscribe(
        { query: print(document), variables },
        {
          next: (result) => sink.next(parseData(document, result)),
          error: (error) => sink.ended(new Error(`the subscription broke off: ${describe(error)}`, { cause: error })),
          complete: () => sink.ended(new Error('the subscription ended')),
        },
      );
    },
    [Symbol.asyncDispose]: async () => await socket.dispose(),
  };
}

/** The answer's data. Throws the server's words when it holds errors, and for what is no answer at all. */
function parseData<Data>(_document: TypedDocumentNode<Data, never>, result: unknown): Data {
  const { errors, data } = answer.parse(result);
  if (errors !== undefined) throw new Error(`Posthorn answered: ${errors.map((error) => error.message).join(' ')}`);
  if (data === null || data === undefined) throw new Error('Posthorn answered with neither data nor errors');
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the server is held to the schema that typed the document
  return data as Data;
}

/** graphql-ws throws errors, lists of GraphQL errors, and close events. */
function describe(error: unknown): string {
  if (Array.isArray(error)) return error.map((one) => describe(one)).join(' ');
  if (error instanceof Error) return error.message;
  if (error instanceof CloseEvent) return `the socket was closed with ${error.code} ${error.reason}`.trimEnd();
  return String(error);
}
