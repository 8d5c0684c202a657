import type { ServerResponse } from 'node:http';

/** Ends the response with a body in JSON that nobody may keep. Headers that were set before stay. */
export function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

/** The same with one error, in the shape of GraphQL's. What the caller cannot mend carries the request's id. */
export function answerError(response: ServerResponse, status: number, code: string, message: string): void {
  const requestId = response.getHeader('x-request-id');
  const extensions = status >= 500 ? { code, requestId } : { code };
  answer(response, status, { errors: [{ message, extensions }] });
}
