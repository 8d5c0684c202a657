import { setTimeout as after } from 'node:timers/promises';
import { print } from 'graphql';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import type { FormattedExecutionResult } from 'graphql';

/** What a call met on its way, counted by name. */
export type Trouble = Map<string, number>;

/** Calls of one project that outlast whatever happens to the gateways. */
export interface PatientCalls {
  apiKey: string;
  gatewayUrls: readonly string[];
  /** What the calls met so far: no connection, no answer in time or none at all, or the code of an error. */
  trouble: Trouble;
  /** Asks one gateway after the other until one answers. Rejects for an error of the caller's, or after the limit. */
  ask: <Result, Variables extends object>(
    document: TypedDocumentNode<Result, Variables>,
    variables: Variables,
  ) => Promise<Result>;
}

const answerLimitMs = 5_000;
const callLimitMs = 90_000;
const firstWaitMs = 50;
const waitMsMax = 1_000;
/**
 * Codes after which a client asks again. INTERNAL is a bug wherever it comes: a run goes on to show what else there is,
 * and its count must be none.
 */
const codesToAskAgain = new Set(['UNAVAILABLE', 'INTERNAL']);

/** What a call came to: an answer, or why it has to be made again. */
type Outcome = { kind: 'answer'; data: unknown } | { kind: 'again'; trouble: string };

export function createPatientCalls(apiKey: string, gatewayUrls: readonly string[]): PatientCalls {
  const trouble: Trouble = new Map();
  let turn = 0;
  return {
    apiKey,
    gatewayUrls,
    trouble,
    ask: async (document, variables) => {
      const deadline = performance.now() + callLimitMs;
      const body = JSON.stringify({ query: print(document), variables });
      for (let waitMs = firstWaitMs; ; waitMs = Math.min(waitMsMax, waitMs * 2)) {
        const url = gatewayUrls[turn++ % gatewayUrls.length] ?? '';
        const outcome = await post(`${url}/graphql`, apiKey, body);
        if (outcome.kind === 'answer') return outcome.data as never;
        trouble.set(outcome.trouble, (trouble.get(outcome.trouble) ?? 0) + 1);
        if (performance.now() > deadline) throw new Error(`no answer within ${callLimitMs} ms: ${outcome.trouble}`);
        await after(waitMs);
      }
    },
  };
}

async function post(url: string, apiKey: string, body: string): Promise<Outcome> {
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json',
    authorization: `Bearer ${apiKey}`,
  };
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers,
      body,
      signal: AbortSignal.timeout(answerLimitMs),
    });
    const text = await response.text();
    const result = parseResult(text);
    if (result !== null) return outcomeOf(result);
    const length = text === '' ? 'no answer' : 'a cut answer';
    return { kind: 'again', trouble: `${length} with status ${response.status}` };
  } catch (error) {
    // What fetch throws without a connection, with one that breaks, and after the limit.
    if (error instanceof TypeError) return { kind: 'again', trouble: 'no connection' };
    if (error instanceof DOMException) return { kind: 'again', trouble: 'no answer in time' };
    throw error;
  }
}

/** Null for what a gateway that was killed left of its answer. */
function parseResult(text: string): FormattedExecutionResult | null {
  try {
    return JSON.parse(text) as FormattedExecutionResult;
  } catch {
    return null;
  }
}

function outcomeOf({ data, errors = [] }: FormattedExecutionResult): Outcome {
  const [first] = errors;
  if (first === undefined) return { kind: 'answer', data };
  const code = String(first.extensions?.['code']);
  if (codesToAskAgain.has(code)) return { kind: 'again', trouble: code };
  throw new Error(`a call was refused: ${JSON.stringify(errors)}`);
}
