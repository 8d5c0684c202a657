import { once } from 'node:events';
import { createServer } from 'node:http';
import { expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { fillHoles, frameMessages } from '../../src/gateway/websocket-frames.ts';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

/** What a strict client of ws gets when the bytes come as they are. */
async function receive(bytes: Buffer, count: number): Promise<string[]> {
  const websockets = new WebSocketServer({ noServer: true });
  const server = createServer().on('upgrade', (request, socket: Duplex, head) => {
    websockets.handleUpgrade(request, socket, head, () => socket.write(bytes));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const texts: string[] = [];
  const all = Promise.withResolvers<null>();
  client.on('message', (data: Buffer, isBinary) => {
    texts.push(isBinary ? 'binary' : data.toString());
    if (texts.length === count) all.resolve(null);
  });
  client.on('error', all.reject);
  await all.promise;
  client.terminate();
  server.close();
  return texts;
}

test('messages of every length form arrive whole, in order, with what the holes were filled with', async () => {
  const hole = Buffer.from('hölé:');
  const lengths = [hole.length + 1, 125, 126, 127, 65_535, 65_536, 70_000];
  const tails = lengths.map((length) => Buffer.from('x'.repeat(length - hole.length - 1)));
  const framed = frameMessages(hole.length, tails, Buffer.from('}'));
  for (const filling of ['abcdefg', 'hölé:']) {
    fillHoles(framed, Buffer.from(filling));
    const texts = await receive(framed.bytes, lengths.length);
    expect(texts.map((text) => Buffer.byteLength(text))).toEqual(lengths);
    expect(texts).toEqual(tails.map((tail) => `${filling}${tail.toString()}}`));
  }
});
