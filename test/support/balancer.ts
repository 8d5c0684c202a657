import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';

/** A load balancer as it stands before gateways: connections go to those of which `/ready` says yes, in turn. */
export interface Balancer extends AsyncDisposable {
  url: string;
}

const checkEveryMs = 100;
const checkLimitMs = 1_000;

/** Starts one before the ports of loopback; resolves when at least one of them is ready. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const stop = new AbortController();
  const ready = new Set<number>();
  const sockets = new Set<Socket>();
  let turn = 0;
  const server = createServer((incoming) => {
    const open = ports.filter((port) => ready.has(port));
    const port = open[turn++ % open.length];
    if (port === undefined) {
      incoming.destroy();
      return;
    }
    const outgoing = connect(port, '127.0.0.1');
    for (const [socket, peer] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => peer.destroy());
      socket.on('close', () => sockets.delete(socket));
      socket.pipe(peer);
    }
  });
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
