import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

const requestIdShape = /^[\x21-\x7e]{1,128}$/;

/** Sets the headers of every answer and gives the request's id: the caller's own when it sent a usable one. */
export function beginAnswer(request: IncomingMessage, response: ServerResponse): string {
  const given = request.headers['x-request-id'];
  const requestId = typeof given === 'string' && requestIdShape.test(given) ? given : randomUUID();
  response.setHeader('x-request-id', requestId);
  response.setHeader('x-content-type-options', 'nosniff');
  return requestId;
}

/** The path of a request, without its query. */
export function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/';
}

/** Answers with JSON that nobody keeps. */
export function answer(response: ServerResponse, status: number, body: object): void {
  answerText(response, status, { type: 'application/json; charset=utf-8', text: JSON.stringify(body) });
}

/** Answers with a text that nobody keeps. */
export function answerText(response: ServerResponse, status: number, body: { type: string; text: string }): void {
  response.writeHead(status, { 'content-type': body.type, 'cache-control': 'no-store' });
  response.end(body.text);
}

/** Answers with an error in the shape of GraphQL's. What the caller cannot mend carries the request's id. */
export function answerError(response: ServerResponse, status: number, code: string, message: string): void {
  const requestId = response.getHeader('x-request-id');
  const extensions = status >= 500 ? { code, requestId } : { code };
  answer(response, status, { errors: [{ message, extensions }] });
}

/** Answers that there is nothing at this path. */
export async function notFound(_request: IncomingMessage, response: ServerResponse): Promise<void> {
  answerError(response, 404, 'NOT_FOUND', 'There is nothing here.');
}

/** Ends an answer that broke: with 500 when nothing of it is sent yet, or else by cutting the connection. */
export function answerBroken(response: ServerResponse): void {
  if (response.headersSent) response.destroy();
  else answerError(response, 500, 'INTERNAL', 'Unexpected error');
}
