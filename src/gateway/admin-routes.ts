import {
  cleanupCallLimitMs,
  isRetentionDays,
  isRetryLimit,
  retentionDaysMax,
  retryStuckMax,
} from '../domain/upkeep.ts';
import { parseAuthorization } from './credentials.ts';
import { answer, answerError } from '../operations/answer.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Administration, SchemaContext } from '../../schema/context.ts';
import type { Secret } from '../secret.ts';
import type { Authentication } from './authentication.ts';

// Upkeep over plain HTTP, for cron: POST with the admin key, numbers in the query string, counts in the answer. What is done
// is what the mutations and the clock do. A call of a browser's page carries no admin key, so nothing here needs CSRF's care.

export interface AdminRoutesOptions {
  /** Null: there is no administration. */
  adminKey: Secret<string> | null;
  authentication: Authentication;
  createContext: (caller: SchemaContext['caller'], requestId: string) => Pick<SchemaContext, 'administration'>;
  logger: Logger;
  /** Aborts when the gateway stops: what is under way then ends with its next step, and is answered. */
  stopSignal: AbortSignal;
}

/** Answers one request. */
export type AdminRoute = (request: IncomingMessage, response: ServerResponse, requestId: string) => Promise<void>;

/** The only number that a call takes. */
interface Parameter {
  name: string;
  isAllowed: (amount: number) => boolean;
  max: number;
  /** What holds when it is not given; null: it has to be. */
  defaultOf: (administration: Administration) => number | null;
}

interface Call {
  parameter: Parameter | null;
  run: (administration: Administration, amount: number, signal: AbortSignal) => Promise<object>;
}

const calls: Readonly<Record<string, Call>> = {
  '/admin/webhooks/cleanup': {
    parameter: {
      name: 'days',
      isAllowed: isRetentionDays,
      max: retentionDaysMax,
      defaultOf: ({ retentionDays }) => retentionDays,
    },
    run: async (administration, days, signal) => ({ days, ...(await administration.cleanup(days, signal)) }),
  },
  '/admin/webhooks/retry-stuck': {
    parameter: { name: 'limit', isAllowed: isRetryLimit, max: retryStuckMax, defaultOf: () => retryStuckMax },
    run: async (administration, limit) => ({ limit, enqueuedCount: await administration.retryStuck(limit) }),
  },
  '/admin/webhooks/sweep': {
    parameter: null,
    run: async (administration, _amount, signal) => ({ enqueuedCount: await administration.sweep(signal) }),
  },
};

/** Why a call is not made. */
interface Refusal {
  kind: 'refused';
  status: number;
  code: string;
  message: string;
  headers?: Readonly<Record<string, string>>;
}
type Outcome = Refusal | { kind: 'done'; body: object } | { kind: 'failed'; error: unknown };

/** Creates the routes by path. Each call writes one log line, without its credentials. */
export function createAdminRoutes(options: AdminRoutesOptions): Record<string, AdminRoute> {
  const routes = Object.entries(calls).map(([path, call]): [string, AdminRoute] => [
    path,
    async (request, response, requestId) => {
      const startedAt = performance.now();
      const outcome = await takeCall(call, { request, response, requestId, options }).catch(failed);
      const durationMs = Math.round(performance.now() - startedAt);
      settle(outcome, response, options.logger.child({ path, requestId, durationMs }));
    },
  ]);
  return Object.fromEntries(routes);
}

function failed(error: unknown): Outcome {
  return { kind: 'failed', error };
}

/** Logs what came of a call, and answers it. */
function settle(outcome: Outcome, response: ServerResponse, logger: Logger): void {
  switch (outcome.kind) {
    case 'done':
      logger.info({ status: 200, ...outcome.body }, 'admin call');
      return answer(response, 200, outcome.body);
    case 'refused':
      logger.warn({ status: outcome.status, refusal: outcome.message }, 'admin call');
      for (const [name, value] of Object.entries(outcome.headers ?? {})) response.setHeader(name, value);
      return answerError(response, outcome.status, outcome.code, outcome.message);
    case 'failed':
      logger.error({ status: 503, err: outcome.error }, 'admin call');
      return answerError(response, 503, 'UNAVAILABLE', 'This was not done to its end; what was done stays. Try again.');
  }
}

/** A call as it came. */
interface Arrived {
  request: IncomingMessage;
  response: ServerResponse;
  requestId: string;
  options: AdminRoutesOptions;
}

async function takeCall(call: Call, arrived: Arrived): Promise<Outcome> {
  const { request, response, requestId, options } = arrived;
  const refusal = findMisuse(request) ?? (await findStranger(request, options));
  if (refusal !== null) return refusal;
  const { administration } = options.createContext({ kind: 'ADMINISTRATOR' }, requestId);
  const amount = readAmount(call.parameter, request.url ?? '', administration);
  if (typeof amount === 'string') return { kind: 'refused', status: 400, code: 'BAD_USER_INPUT', message: amount };
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const signal = AbortSignal.any([options.stopSignal, gone.signal, AbortSignal.timeout(cleanupCallLimitMs)]);
  return { kind: 'done', body: await call.run(administration, amount, signal) };
}

/** Says why a request is none of these calls, whoever sends it. What is in a body would be overlooked, so there may be none. */
function findMisuse({ method, headers }: IncomingMessage): Refusal | null {
  if (method !== 'POST') {
    const message = `This takes POST, not ${method}.`;
    return { kind: 'refused', status: 405, code: 'BAD_USER_INPUT', message, headers: { allow: 'POST' } };
  }
  if (headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0) return null;
  const message = 'This takes no body: what it is to do stands in the query string.';
  return { kind: 'refused', status: 400, code: 'BAD_USER_INPUT', message };
}

/** Says why who sends it may not. */
async function findStranger(
  request: IncomingMessage,
  { adminKey, authentication }: AdminRoutesOptions,
): Promise<Refusal | null> {
  if (adminKey === null) {
    const message = 'There is no administration over HTTP here: POSTHORN_ADMIN_KEY is not set.';
    return { kind: 'refused', status: 404, code: 'NOT_FOUND', message };
  }
  const credentials = parseAuthorization(request.headers.authorization);
  const judged = await authentication(credentials, request.socket.remoteAddress ?? '');
  if (judged.kind === 'limited') {
    const headers = { 'retry-after': String(judged.retryAfterSeconds) };
    return { kind: 'refused', status: 429, code: 'RATE_LIMITED', message: judged.message, headers };
  }
  if (judged.kind === 'accepted' && judged.caller?.kind === 'ADMINISTRATOR') return null;
  if (judged.kind === 'accepted' && judged.caller !== null) {
    const message = 'This needs the admin key: a project’s key or token cannot do it.';
    return { kind: 'refused', status: 403, code: 'FORBIDDEN', message };
  }
  const message = judged.kind === 'refused' ? judged.message : 'Send "authorization: Access <admin key>".';
  const headers = { 'www-authenticate': 'Access' };
  return { kind: 'refused', status: 401, code: 'UNAUTHENTICATED', message, headers };
}

/** The call's number, or a sentence that says what is wrong with the query string. */
function readAmount(parameter: Parameter | null, url: string, administration: Administration): number | string {
  const given = new URLSearchParams(url.split('?').slice(1).join('?'));
  const unknown = [...given.keys()].find((name) => name !== parameter?.name);
  if (unknown !== undefined) {
    const taken = parameter === null ? 'no parameters' : `only the parameter "${parameter.name}"`;
    return `There is no parameter ${shown(unknown)}: this takes ${taken}.`;
  }
  if (parameter === null) return 0;
  const { name, isAllowed, max, defaultOf } = parameter;
  const [value, ...others] = given.getAll(name);
  if (others.length > 0) return `${name} must be given once, not ${others.length + 1} times.`;
  if (value === undefined) return defaultOf(administration) ?? `${name} must be given: history is kept for ever here.`;
  const amount = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  return isAllowed(amount) ? amount : `${name} must be a whole number from 1 to ${max}, not ${shown(value)}.`;
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
