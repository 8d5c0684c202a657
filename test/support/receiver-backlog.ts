import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as after } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { RawReceiver } from './receiver.ts';

const program = `
  const { createServer } = require('node:net');
  const { parentPort } = require('node:worker_threads');
  const server = createServer();
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port);
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
  });`;

/** Connections that are tried in order to fill a backlog of one. */
const fillersMax = 16;

/** Starts a server that listens, accepts nothing, and has as many connections waiting as its system lets wait. */
export async function startFullReceiver(): Promise<RawReceiver> {
  await using starting = new AsyncDisposableStack();
  const worker = new Worker(program, { eval: true });
  starting.defer(async () => void (await worker.terminate()));
  const [port] = (await once(worker, 'message')) as [number];
  for (let count = 0; count < fillersMax; count += 1) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    starting.defer(() => void socket.destroy());
    if (!(await isConnected(socket))) {
      const owned = starting.move();
      return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
    }
  }
  throw new Error(`the backlog of port ${port} took ${fillersMax} connections`);
}

/** Loopback connects within a millisecond or, when the backlog is full, only after the next SYN a second later. */
async function isConnected(socket: Socket): Promise<boolean> {
  return await Promise.race([once(socket, 'connect').then(() => true), after(300, false)]);
}
