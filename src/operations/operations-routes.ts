import { createHash, timingSafeEqual } from 'node:crypto';
import { answer, answerError, answerText } from './answer.ts';
import { createReadinessCheck, readinessOf } from './readiness.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Secret } from '../secret.ts';
import type { ReadinessChecks, ReadinessResults } from './readiness.ts';

// src/operations: what those who run Posthorn ask a process: `/health`, `/ready`, `/metrics`. Invariant: no answer shows a
// reason, a secret or anything of a project; reasons are in the log. The gateway serves these routes beside its own; a
// worker alone serves them by operations-server.ts.

/** Answers requests to one path. */
export type Route = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** The metrics of this process as Prometheus reads them. */
export interface MetricsPage {
  contentType: string;
  /** Never takes long: what does not answer in time is left out. */
  read(): Promise<string>;
}

/** The metrics, and who may read them. */
export interface ServedMetrics {
  page: MetricsPage;
  /** Who reads must present it; null: anybody may. */
  token: Secret<string> | null;
}

export interface OperationsOptions {
  checks: ReadinessChecks;
  /** How long a readiness check may take, in milliseconds. */
  readyCheckMs: number;
  /** Null: there are none to be read here. */
  metrics: ServedMetrics | null;
  logger: Logger;
}

/** How far a process is; only one that serves is ready. */
export type Phase = 'starting' | 'serving' | 'stopping';

/** Gives the routes by path. */
export function createOperationsRoutes(options: OperationsOptions, phase: () => Phase): Record<string, Route> {
  const check = createReadinessCheck(options.checks, options.readyCheckMs, options.logger);
  return {
    '/health': async (_request, response) => answer(response, 200, { status: 'ok' }),
    '/ready': async (_request, response) => await ready(response, phase(), check),
    ...(options.metrics === null ? {} : { '/metrics': createMetricsRoute(options.metrics) }),
  };
}

function createMetricsRoute({ page, token }: ServedMetrics): Route {
  const mayRead = token === null ? () => true : holderOf(token.reveal());
  return async (request, response) => {
    if (mayRead(request.headers.authorization)) {
      answerText(response, 200, { text: await page.read(), type: page.contentType });
      return;
    }
    response.setHeader('www-authenticate', 'Bearer');
    const message = 'The metrics need "authorization: Bearer <POSTHORN_METRICS_TOKEN>".';
    answerError(response, 401, 'UNAUTHENTICATED', message);
  };
}

async function ready(response: ServerResponse, phase: Phase, check: () => Promise<ReadinessResults>): Promise<void> {
  if (phase !== 'serving') return answer(response, 503, { status: phase });
  const results = await check();
  const status = readinessOf(results);
  answer(response, status === 'not ready' ? 503 : 200, { status, checks: results });
}

/** Compares by digest, which takes the same time however much of a token is right and however long it is. */
function holderOf(token: string): (authorization: string | undefined) => boolean {
  const digest = digestOf(token);
  return (authorization = '') => {
    const [, given = ''] = /^bearer +(\S+) *$/i.exec(authorization) ?? [];
    return timingSafeEqual(digestOf(given), digest);
  };
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
