import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';

/** A load balancer as it stands before gateways: connections go to those of which `/ready` says yes, in turn. */
export interface Balancer extends AsyncDisposable {
  url: string;
}

const checkEveryMs = 100;
const checkLimitMs = 3_000;

/** Starts one before the ports of loopback; resolves when at least one of them is ready. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const stop = new AbortController();
  const ready = new Set<number>();
  const sockets = new Set<Socket>();
  let turn = 0;
  const server = createServer({ pauseOnConnect: true }, (incoming) => {
    keep(incoming);
    forward(incoming, ports.length);
  });
  /** A connection that is refused goes to the next: nothing has been sent on it. */
  function forward(incoming: Socket, triesLeft: number): void {
    const open = ports.filter((port) => ready.has(port));
    const port = open[turn++ % open.length];
    if (port === undefined || triesLeft === 0) {
      incoming.destroy();
      return;
    }
    const outgoing = keep(connect(port, '127.0.0.1'));
    const next = (): void => forward(incoming, triesLeft - 1);
    outgoing.once('error', next).once('connect', () => {
      outgoing.off('error', next).on('error', () => incoming.destroy());
      incoming.on('error', () => outgoing.destroy());
      incoming.pipe(outgoing).pipe(incoming);
    });
  }
  function keep(socket: Socket): Socket {
    sockets.add(socket);
    return socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
  }
  const watching = ports.map(async (port) => {
    while (!stop.signal.aborted) {
      const answer = await fetch(`http://127.0.0.1:${port}/ready`, {
        signal: AbortSignal.timeout(checkLimitMs),
        headers: { connection: 'close' },
      }).catch(() => null);
      await answer?.arrayBuffer();
      if (answer?.status === 200) ready.add(port);
      else ready.delete(port);
      await after(checkEveryMs, null, { signal: stop.signal }).catch(() => null);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  while (ready.size === 0) await after(checkEveryMs);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      for (const socket of sockets) socket.destroy();
      server.close();
      await Promise.all([once(server, 'close'), ...watching]);
    },
  };
}
