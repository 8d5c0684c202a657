import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';

/** Whether this machine has `::1`; containers often have no IPv6. */
export const hasIpv6 = Object.values(networkInterfaces()).some((infos) =>
  infos?.some(({ address }) => address === '::1'),
);

/** An HTTP server on addresses of this machine that counts who comes, whatever they say then. */
export interface Listener extends AsyncDisposable {
  /** The same at every address. */
  port: number;
  /** Connections so far, to one of the addresses or to any. Whoever was connecting when it is called is counted. */
  connectionCount(address?: string): Promise<number>;
}

/** Starts a listener on a free port; it answers every request with 200 and `inside`, and closes the connection. */
export async function startListener(addresses: readonly string[]): Promise<Listener> {
  await using starting = new AsyncDisposableStack();
  const doors: Door[] = [];
  for (const address of addresses) doors.push(starting.use(await openDoor(address, doors[0]?.port ?? 0)));
  const started = starting.move();
  return {
    port: doors[0]?.port ?? 0,
    connectionCount: async (address) => {
      const asked = doors.filter((door) => address === undefined || door.address === address);
      const counts = await Promise.all(asked.map(async (door) => await door.connectionCount()));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

interface Door extends AsyncDisposable {
  address: string;
  port: number;
  connectionCount(): Promise<number>;
}

async function openDoor(address: string, wantedPort: number): Promise<Door> {
  const server = createServer((_request, response) => response.setHeader('connection', 'close').end('inside'));
  const remotePorts: (number | undefined)[] = [];
  let ownCount = 0;
  server.on('connection', (socket) => remotePorts.push(socket.remotePort));
  server.listen({ port: wantedPort, host: address, ipv6Only: true });
  await once(server, 'listening');
  const port = portOf(server);
  return {
    address,
    port,
    // Connections are accepted in order: once its own is there, so are those that were made before.
    connectionCount: async () => {
      const own = connect({ port, host: address });
      ownCount += 1;
      await once(own, 'connect');
      while (!remotePorts.includes(own.localPort)) await once(server, 'connection');
      own.destroy();
      return remotePorts.length - ownCount;
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the listener has no TCP port');
  return address.port;
}
