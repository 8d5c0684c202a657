import { createClient } from 'graphql-ws';
import { z } from 'zod';
import type { DemoFacts } from '../demo-project.ts';

const requestLimitMs = 15_000;

/** A call with what it needs and what it must give. */
export interface DemoCall<Data> {
  document: string;
  variables: Record<string, unknown>;
  /** Reads the answer's `data`. */
  data: z.ZodType<Data>;
}

/** Takes what a subscription brings. */
export interface DemoSink<Data> {
  next(data: Data): void;
  /** Called once when the subscription is over, whichever side ended it. */
  ended(reason: Error): void;
}

/** A GraphQL client of one project: queries and mutations by HTTP, subscriptions by WebSocket. */
export interface DemoClient extends AsyncDisposable {
  /** Makes the call. Rejects with the server's words when it answers with an error, and after 15 s. */
  request<Data>(call: DemoCall<Data>): Promise<Data>;
  /** Starts the subscription; the function that it gives ends it. */
  subscribe<Data>(call: DemoCall<Data>, sink: DemoSink<Data>): () => void;
}

const answer = z.object({
  data: z.unknown(),
  errors: z.array(z.object({ message: z.string() })).optional(),
});

/** Makes the client; it opens its socket with the first subscription. */
export function createDemoClient(facts: DemoFacts): DemoClient {
  const authorization = `Bearer ${facts.apiKey}`;
  const socket = createClient({ url: facts.websocketUrl, connectionParams: { authorization }, retryAttempts: 0 });
  return {
    request: async ({ document, variables, data }) => {
      const response = await fetch(facts.graphqlUrl, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization },
        body: JSON.stringify({ query: document, variables }),
        signal: AbortSignal.timeout(requestLimitMs),
      });
      return dataOf(await response.json(), data);
    },
    subscribe: ({ document, variables, data }, sink) => {
      return socket.subscribe(
        { query: document, variables },
        {
          next: (result) => sink.next(dataOf(result, data)),
          error: (error) => sink.ended(new Error(`the subscription broke off: ${describe(error)}`, { cause: error })),
          complete: () => sink.ended(new Error('the subscription ended')),
        },
      );
    },
    [Symbol.asyncDispose]: async () => await socket.dispose(),
  };
}

function dataOf<Data>(result: unknown, data: z.ZodType<Data>): Data {
  const { errors, data: value } = answer.parse(result);
  if (errors !== undefined) throw new Error(`Posthorn answered: ${errors.map((error) => error.message).join(' ')}`);
  return data.parse(value);
}

/** graphql-ws throws errors, lists of GraphQL errors, and close events. */
function describe(error: unknown): string {
  if (Array.isArray(error)) return error.map((one) => describe(one)).join(' ');
  if (error instanceof Error) return error.message;
  if (error instanceof CloseEvent) return `the socket was closed with ${error.code} ${error.reason}`.trimEnd();
  return String(error);
}
