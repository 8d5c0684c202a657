import { once } from 'node:events';
import { createServer } from 'node:http';
import { endsWithin } from '../time-limit.ts';
import { answerBroken, beginAnswer, notFound, pathOf } from './answer.ts';
import { listen, localUrl, type ListenAddress } from './listen.ts';
import { createOperationsRoutes, type OperationsOptions, type Phase } from './operations-routes.ts';
import type { Server } from 'node:http';

/** A process's own port for those who run it. Disposing it closes the port. */
export interface OperationsServer extends AsyncDisposable {
  /** As in `http://127.0.0.1:4001`. */
  url: string;
  /** Says on `/ready` what the process does from now on; it begins as `starting`. */
  enter(phase: Phase): void;
}

/** What a request may take for its head and for all of it, in milliseconds: who asks here is a machine nearby. */
const requestMs = 5_000;
/** What closing leaves to answers under way, in milliseconds. */
const closeMs = 1_000;

/** Listens for `/health`, `/ready` and `/metrics`. Rejects with one sentence that names host and port when it cannot. */
export async function startOperationsServer(options: OperationsOptions & ListenAddress): Promise<OperationsServer> {
  let phase: Phase = 'starting';
  const routes = createOperationsRoutes(options, () => phase);
  const server = createServer({ headersTimeout: requestMs, requestTimeout: requestMs }, (request, response) => {
    const requestId = beginAnswer(request, response);
    const path = pathOf(request);
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    (route ?? notFound)(request, response).catch((error: unknown) => {
      options.logger.error({ err: error, requestId }, 'an http request could not be handled');
      answerBroken(response);
    });
  });
  const port = await listen(server, options);
  return {
    url: localUrl({ host: options.host, port }),
    enter: (next) => (phase = next),
    [Symbol.asyncDispose]: async () => await close(server),
  };
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  if (await endsWithin(closeMs, closed)) return;
  server.closeAllConnections();
  await closed;
}
