import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { Http2SecureServer } from 'node:http2';
import type { Server as HttpsServer } from 'node:https';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { authorityReceiverKey, goodCertificate } from './receiver-authority.ts';

/** What a TLS receiver offers by ALPN. */
export type OfferedProtocols = 'HTTP/1.1' | 'HTTP/2' | 'HTTP/2 and HTTP/1.1';

export interface TlsReceiverOptions {
  /** In PEM; the good one where nothing is said. Its key is that of all. */
  certificate?: string;
  protocols?: OfferedProtocols;
}

/** A real HTTPS server on loopback that answers 200 to everything. */
export interface TlsReceiver extends AsyncDisposable {
  /** `https://receiver.localhost:<port>`, a name that means loopback everywhere. */
  url: string;
  /** The HTTP version of every request so far. */
  httpVersions: string[];
}

/** Starts a TLS receiver on a free loopback port. */
export async function startTlsReceiver(options: TlsReceiverOptions = {}): Promise<TlsReceiver> {
  const httpVersions: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServerFor(options.protocols ?? 'HTTP/1.1', {
    key: authorityReceiverKey,
    cert: options.certificate ?? goodCertificate,
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  server.on('tlsClientError', () => {}); // a sender that does not trust the certificate breaks off; that is the test
  server.on('request', (request, response) => {
    httpVersions.push(request.httpVersion);
    request.resume();
    response.end('ok');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `https://receiver.localhost:${(server.address() as AddressInfo).port}`,
    httpVersions,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function createServerFor(
  protocols: OfferedProtocols,
  tls: { key: string; cert: string },
): HttpsServer | Http2SecureServer {
  if (protocols === 'HTTP/1.1') return createHttpsServer(tls);
  return createSecureServer({ ...tls, allowHTTP1: protocols === 'HTTP/2 and HTTP/1.1' });
}
