import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import type { FeedSink } from './live-subscription.ts';

/**
 * Writes a subscription's results to its socket as `next` messages of graphql-transport-ws, each batch in one write. `ws`
 * writes whole frames, uncompressed, to the same connection, so nothing comes between. `close` closes the socket for now.
 */
export function createWebsocketSink(id: string, socket: WebSocket, connection: Socket, close: () => void): FeedSink {
  const prefix = ownBytes(`{"id":${JSON.stringify(id)},"type":"next","payload":`);
  connection.setMaxListeners(0); // each of its subscriptions may wait for the same drain
  return {
    isReady(resume) {
      if (socket.readyState !== socket.OPEN) return false;
      if (connection.writableNeedDrain) connection.once('drain', resume);
      return !connection.writableNeedDrain;
    },
    write(batch) {
      if (socket.readyState !== socket.OPEN) return; // nothing may follow a close frame
      batch.writeMessages(prefix, (bytes) => {
        connection.write(bytes);
        return connection.writableLength === 0;
      });
    },
    closeForNow: close,
  };
}

/** A short text in memory of its own: `Buffer.from` cuts it from a block of 8 KiB, which then stays for as long. */
function ownBytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}
