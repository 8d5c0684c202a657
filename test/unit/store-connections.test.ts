import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase, type Database } from '../../src/store/database.ts';
import { inTransaction } from '../../src/store/pipelines.ts';

// What a PostgreSQL that is being shut down sends, of its protocol 3: a type, a length, and fields.
const message = (type: string, fields: string): Buffer => {
  const body = Buffer.from(fields, 'latin1');
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
};
const authenticated = message('R', '\0\0\0\0');
const readyForQuery = message('Z', 'I');
const shutDown = message('E', 'SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0');

/** A server that accepts a session and ends it in one breath. */
const server = createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => socket.end(Buffer.concat([authenticated, readyForQuery, shutDown])));
});
let database: Database;
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  database = openDatabase(`postgresql://posthorn:secret@127.0.0.1:${port}/posthorn`);
});
afterAll(async () => {
  await database?.[Symbol.asyncDispose]();
  server.close();
});

describe('a server that ends a connection as it hands it out', () => {
  const asked: Record<string, () => Promise<unknown>> = {
    'a transaction': async () =>
      await inTransaction(database, async (client) => await client.query({ text: 'select 1' })),
    'a statement': async () => await database.pipeline.query('select 1'),
    'a read': async () => await database.reads.query('select 1'),
    'a change by Prisma': async () => await database.prisma.$transaction(async (tx) => await tx.project.count()),
    'a look-up by Prisma': async () => await database.prisma.project.count(),
  };
  test.each(Object.keys(asked))('fails %s and leaves the process alone', async (name) => {
    await expect(asked[name]?.()).rejects.toThrow(/connection|terminat/i);
  });
});
