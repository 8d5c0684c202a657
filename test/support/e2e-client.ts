import { EventEmitter, once } from 'node:events';
import { setTimeout as after } from 'node:timers/promises';
import { print } from 'graphql';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import type { FormattedExecutionResult } from 'graphql';
import type { Client } from 'graphql-ws';

// A client of Posthorn as anybody may write one: HTTP, WebSocket and event streams, and nothing of the product.

/** Where a Posthorn answers. */
export interface Endpoint {
  graphqlUrl: string;
  websocketUrl: string;
}

/** An operation: typed, or its text. */
export type Operation<Result = unknown> = TypedDocumentNode<Result, never> | string;

/** An answer as it came, errors included. */
export interface Answer<Result = unknown> {
  data: Result | null;
  errors: readonly { message: string; path: readonly (string | number)[]; code: unknown }[];
}

/** A running subscription, read one item after the other. */
export interface Watch<Result> extends Disposable {
  /** The next answer, or null when the subscription has ended. Rejects when there is none within the limit. */
  nextAnswer(limitMs?: number): Promise<Answer<Result> | null>;
  /** The next item. Rejects for an error, an end, or none within the limit. */
  next(limitMs?: number): Promise<Result>;
  /** The items up to and with the first one that `isLast` is true of. */
  until(isLast: (item: Result) => boolean, limitMs?: number): Promise<Result[]>;
}

export interface ApiClient extends AsyncDisposable {
  /** Executes over HTTP and gives the data; any error rejects. */
  run<Result, Variables extends object>(
    document: TypedDocumentNode<Result, Variables>,
    variables: Variables,
  ): Promise<Result>;
  ask<Result>(operation: Operation<Result>, variables?: object): Promise<Answer<Result>>;
  askOverWebsocket<Result>(operation: Operation<Result>, variables?: object): Promise<Answer<Result>>;
  watch<Result>(operation: Operation<Result>, variables?: object): Watch<Result>;
  watchOverSse<Result>(operation: Operation<Result>, variables?: object): Watch<Result>;
}

const waitLimitMs = 15_000;

/** A client with the API key, or with the admin key by the scheme `Access`; null sends none. `more`: headers besides. */
export function createApiClient(
  endpoint: Endpoint,
  apiKey: string | null,
  scheme: 'Bearer' | 'Access' = 'Bearer',
  more: Record<string, string> = {},
): ApiClient {
  const headers = { ...(apiKey === null ? {} : { authorization: `${scheme} ${apiKey}` }), ...more };
  const sockets = createClient({
    url: endpoint.websocketUrl,
    webSocketImpl: WebSocket,
    connectionParams: headers,
    retryAttempts: 0,
    lazyCloseTimeout: 1_000,
  });
  const streams = new AbortController();
  const ask: ApiClient['ask'] = async (operation, variables = {}) => {
    const accept = { ...headers, accept: 'application/json' };
    const signal = AbortSignal.timeout(waitLimitMs * 2);
    const response = await post(endpoint.graphqlUrl, { headers: accept, signal }, operation, variables);
    return answerOf(await response.json());
  };
  return {
    ask,
    run: async (document, variables) => {
      const { data, errors } = await ask(document, variables);
      if (data === null || errors.length > 0) throw new Error(`the operation failed: ${JSON.stringify(errors)}`);
      return data;
    },
    askOverWebsocket: async (operation, variables = {}) => {
      using results = watchOf<never>((sink) => overWebsocket(sockets, operation, variables, sink));
      const answer = await results.nextAnswer();
      if (answer === null) throw new Error('the operation ended without an answer');
      return answer;
    },
    watch: (operation, variables = {}) => watchOf((sink) => overWebsocket(sockets, operation, variables, sink)),
    watchOverSse: (operation, variables = {}) =>
      watchOf((sink) => {
        const stop = new AbortController();
        const signal = AbortSignal.any([stop.signal, streams.signal]);
        const accept = { ...headers, accept: 'text/event-stream' };
        post(endpoint.graphqlUrl, { headers: accept, signal }, operation, variables)
          .then(async (response) => await readStream(response, sink))
          .then(
            () => sink.end(null),
            (error: unknown) => sink.end(signal.aborted ? null : connectionError(error)),
          );
        return () => stop.abort();
      }),
    [Symbol.asyncDispose]: async () => {
      streams.abort();
      await sockets.dispose();
    },
  };
}

/** Resolves with what `look` gives as soon as it is not null; rejects with what was waited for after the limit. */
export async function untilFound<Value>(
  what: string,
  look: () => Promise<Value | null>,
  limitMs = waitLimitMs,
): Promise<Value> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const value = await look();
    if (value !== null) return value;
    if (performance.now() > deadline) throw new Error(`waited ${limitMs} ms for ${what}`);
    await after(50);
  }
}

async function post(
  url: string,
  { headers, signal }: { headers: Record<string, string>; signal: AbortSignal },
  operation: Operation,
  variables: object,
): Promise<Response> {
  return await fetch(url, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ query: textOf(operation), variables }),
    signal,
  });
}

function textOf(operation: Operation): string {
  return typeof operation === 'string' ? operation : print(operation);
}

function answerOf<Result>(result: unknown): Answer<Result> {
  const { data, errors } = result as FormattedExecutionResult<Result & Record<string, unknown>>;
  return {
    data: data ?? null,
    errors: (errors ?? []).map(({ message, path = [], extensions }) => ({ message, path, code: extensions?.['code'] })),
  };
}

/** Where a running subscription puts what comes. */
interface Sink {
  answer: (result: unknown) => void;
  /** Nothing more comes; an error says why. */
  end: (error: Error | null) => void;
}

function overWebsocket(client: Client, operation: Operation, variables: object, sink: Sink): () => void {
  return client.subscribe(
    { query: textOf(operation), variables: { ...variables } },
    {
      next: (result) => sink.answer(result),
      // An operation that is refused before it runs ends with its errors; a connection that breaks with an event or Error.
      error: (error) => {
        if (!Array.isArray(error)) return sink.end(connectionError(error));
        sink.answer({ errors: error });
        sink.end(null);
      },
      complete: () => sink.end(null),
    },
  );
}

function connectionError(error: unknown): Error {
  if (error instanceof Error) return error;
  const { code, reason } = error as { code?: number; reason?: string };
  return new Error(`the socket was closed: ${code} ${reason}`);
}

async function readStream(response: Response, sink: Sink): Promise<void> {
  if (response.body === null || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
    sink.answer(await response.json());
    return;
  }
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body) {
    const events = (text + decoder.decode(chunk, { stream: true })).split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      if (/^event: *next$/m.test(event)) sink.answer(JSON.parse(/^data: *(.*)$/m.exec(event)?.[1] ?? ''));
    }
  }
}

/** What comes while the test does something else waits for it. */
function watchOf<Result>(start: (sink: Sink) => () => void): Watch<Result> {
  const waiting: Answer<Result>[] = [];
  const arrivals = new EventEmitter();
  let ended: { error: Error | null } | null = null;
  const stop = start({
    answer: (result) => {
      waiting.push(answerOf(result));
      arrivals.emit('change');
    },
    end: (error) => {
      ended ??= { error };
      arrivals.emit('change');
    },
  });

  async function nextAnswer(limitMs = waitLimitMs): Promise<Answer<Result> | null> {
    const limit = AbortSignal.timeout(limitMs);
    for (;;) {
      const answer = waiting.shift();
      if (answer !== undefined) return answer;
      if (ended?.error) throw ended.error;
      if (ended !== null) return null;
      await once(arrivals, 'change', { signal: limit }).catch((cause: unknown) => {
        throw new Error(`no item of the subscription came within ${limitMs} ms`, { cause });
      });
    }
  }

  async function next(limitMs?: number): Promise<Result> {
    const answer = await nextAnswer(limitMs);
    if (answer === null) throw new Error('the subscription has ended');
    if (answer.data === null || answer.errors.length > 0) {
      throw new Error(`the subscription failed: ${JSON.stringify(answer.errors)}`);
    }
    return answer.data;
  }

  return {
    nextAnswer,
    next,
    until: async (isLast, limitMs) => {
      const items: Result[] = [];
      for (;;) {
        const item = await next(limitMs).catch((error: unknown) => {
          throw new Error(`waiting for an item, after ${JSON.stringify(items)}`, { cause: error });
        });
        items.push(item);
        if (isLast(item)) return items;
      }
    },
    [Symbol.dispose]: stop,
  };
}
