import { isAllowedOrigin, isOwnOrigin } from '../domain/allowed-origins.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AllowedOrigins } from '../domain/allowed-origins.ts';

/** What pages of other sites may do, by the Fetch standard's CORS protocol. */
export interface CrossOrigin {
  /** Sets what lets the page that asks read the answer. True: it was a preflight, and has been answered. */
  answer(request: IncomingMessage, response: ServerResponse): boolean;
  /** Whether the page that asks may open a WebSocket, to which CORS does not apply. A program sends no origin. */
  mayUpgrade(request: IncomingMessage): boolean;
}

const preflightHeaders = {
  'access-control-allow-methods': 'GET, POST',
  // No header that is sent here means harm by itself, and credentials of the browser's own (cookies) are never used.
  'access-control-allow-headers':
    'accept, authorization, content-type, graphql-require-preflight, last-event-id, x-request-id, x-requested-with',
  'access-control-max-age': '7200',
};
const exposedHeaders = 'retry-after, x-request-id';

/** Creates the policy; without allowed origins no site but our own can use the API from a browser. */
export function createCrossOrigin(allowed: AllowedOrigins): CrossOrigin {
  return {
    answer(request, response) {
      if (allowed.length === 0) return false;
      response.setHeader('vary', 'Origin'); // An answer to one site must not be kept for another.
      const { origin } = request.headers;
      if (origin === undefined || !isAllowedOrigin(allowed, origin)) return false;
      response.setHeader('access-control-allow-origin', allowed === '*' ? '*' : origin);
      response.setHeader('access-control-expose-headers', exposedHeaders);
      const isPreflight = request.method === 'OPTIONS' && 'access-control-request-method' in request.headers;
      if (isPreflight) response.writeHead(204, preflightHeaders).end();
      return isPreflight;
    },
    mayUpgrade({ headers: { origin, host } }) {
      return origin === undefined || isOwnOrigin(origin, host) || isAllowedOrigin(allowed, origin);
    },
  };
}
