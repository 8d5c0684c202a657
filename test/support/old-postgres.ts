import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';

/** A server that speaks as much of Postgres's protocol as it takes to let anybody in and say its version. */
export interface OldPostgres extends AsyncDisposable {
  url: string;
}

const authenticationOk = message('R', int32(0));
const readyForQuery = message('Z', Buffer.from('I'));
const sslRequestCode = 80_877_103;

/** Starts one that answers every query with its version, such as 120022. Source: PostgreSQL 18, chapter 54. */
export async function startOldPostgres(version: number): Promise<OldPostgres> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let isStarted = false;
    socket.on('error', () => undefined); // The client may be gone.
    socket.on('data', (data) => {
      const isSslRequest = !isStarted && data.readInt32BE(4) === sslRequestCode;
      if (isSslRequest) socket.write('N');
      else if (!isStarted) socket.write(Buffer.concat([authenticationOk, readyForQuery]));
      else if (data[0] === 'Q'.charCodeAt(0)) socket.write(answer(String(version)));
      isStarted ||= !isSslRequest;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : null;
  return {
    url: `postgresql://posthorn:hidden-password@127.0.0.1:${port}/posthorn`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** One row of one text column. */
function answer(value: string): Buffer {
  const field = Buffer.concat([
    Buffer.from('server_version_num\0'),
    int32(0),
    int16(0),
    int32(25),
    int16(-1),
    int32(-1),
    int16(0),
  ]);
  return Buffer.concat([
    message('T', Buffer.concat([int16(1), field])),
    message('D', Buffer.concat([int16(1), int32(value.length), Buffer.from(value)])),
    message('C', Buffer.from('SHOW\0')),
    readyForQuery,
  ]);
}

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}
