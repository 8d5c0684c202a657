import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DemoWebhook } from './demo-script.ts';

const bodyBytesMax = 1024 * 1024;

/** A request that the receiver got, and whether its signature was good. */
export interface DemoRequest {
  /** Its `webhook-id`: the event's id. */
  messageId: string;
  verified: boolean;
}

/** The receiving side of the demo: an HTTP server on loopback as a customer would write it. */
export interface DemoReceiver extends AsyncDisposable {
  /** Every request so far. */
  requests: readonly DemoRequest[];
  /** Where the webhook's requests are to go. */
  urlOf(webhook: DemoWebhook): string;
  /** From now on verifies the webhook's requests with the secret; what came before is answered with 404. */
  expect(webhook: DemoWebhook, secret: string): void;
}

/** What the receiver knows of one webhook. */
interface Route {
  webhook: DemoWebhook;
  verifier: Webhook;
  /** Requests of each event so far, so that every event meets the same failures. */
  requestCounts: Map<string, number>;
}

/** Starts the receiver on a free port. */
export async function startDemoReceiver(): Promise<DemoReceiver> {
  const routes = new Map<string, Route>();
  const requests: DemoRequest[] = [];
  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const body = await readBody(incoming);
    const route = routes.get(incoming.url ?? '');
    if (route === undefined) return answer(outgoing, 404);
    const messageId = headerOf(incoming, 'webhook-id');
    const verified = isVerified(route.verifier, incoming, body);
    requests.push({ messageId, verified });
    if (!verified) return answer(outgoing, 401);
    const earlierCount = route.requestCounts.get(messageId) ?? 0;
    route.requestCounts.set(messageId, earlierCount + 1);
    await wait(route.webhook.answerMs);
    answer(outgoing, earlierCount < route.webhook.failuresFirst ? 500 : 204);
  };
  const server = createServer((incoming, outgoing) => {
    // The sender may hang up at any time; its attempt then says so.
    serve(incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the receiver has no TCP port');
  return {
    requests,
    urlOf: (webhook) => `http://127.0.0.1:${address.port}${pathOf(webhook)}`,
    expect: (webhook, secret) => {
      routes.set(pathOf(webhook), { webhook, verifier: new Webhook(secret), requestCounts: new Map() });
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function pathOf(webhook: DemoWebhook): string {
  return `/${webhook.name.toLowerCase()}`;
}

function answer(outgoing: ServerResponse, status: number): void {
  outgoing.writeHead(status).end();
}

/** Whether the request was signed with the secret, and lately. Any other failure of the verifier is thrown. */
function isVerified(verifier: Webhook, incoming: IncomingMessage, body: string): boolean {
  const headers = {
    'webhook-id': headerOf(incoming, 'webhook-id'),
    'webhook-timestamp': headerOf(incoming, 'webhook-timestamp'),
    'webhook-signature': headerOf(incoming, 'webhook-signature'),
  };
  try {
    verifier.verify(body, headers);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}

function headerOf(incoming: IncomingMessage, name: string): string {
  const value = incoming.headers[name];
  return typeof value === 'string' ? value : '';
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  let body = '';
  incoming.setEncoding('utf8');
  for await (const chunk of incoming) {
    body += String(chunk);
    if (body.length > bodyBytesMax) throw new Error('the request is too large');
  }
  return body;
}
