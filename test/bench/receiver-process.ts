import { createServer } from 'node:http';
import { once } from 'node:events';

// A receiver of its own process that answers 204 and counts distinct deliveries. Told { expect } it says { done } when it
// has them all; it counts every request, so that duplicates show.

let expected = Number.POSITIVE_INFINITY;
let requestCount = 0;
let seen = new Set<string>();

const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.writeHead(204).end();
    requestCount += 1;
    seen.add(String(request.headers['x-posthorn-delivery']));
    if (seen.size === expected) process.send?.({ kind: 'done', requestCount, distinctCount: seen.size });
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const address = server.address();
process.on('message', (message: { expect: number }) => {
  expected = message.expect;
  requestCount = 0;
  seen = new Set();
  process.send?.({ kind: 'expecting' });
});
process.send?.({ kind: 'listening', port: typeof address === 'object' ? address?.port : 0 });
