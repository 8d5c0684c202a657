import { once } from 'node:events';
import type { Server } from 'node:http';

/** Where to listen. */
export interface ListenAddress {
  host: string;
  /** 0 takes any free port. */
  port: number;
}

/** Begins to listen and gives the port. Rejects with one sentence that names host and port when it cannot. */
export async function listen(server: Server, { host, port }: ListenAddress): Promise<number> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    const reason = taken ? 'something else listens there already' : String(error);
    throw new Error(`Posthorn cannot listen on ${host} port ${port}: ${reason}.`, { cause: error });
  }
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** A URL that can be opened from this machine, as in `http://127.0.0.1:4000`. */
export function localUrl({ host, port }: ListenAddress): string {
  return `http://${urlHost(host)}:${port}`;
}

function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
