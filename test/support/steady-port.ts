import { once } from 'node:events';
import { createServer } from 'node:net';

// Ports for servers that go and come back on the same one. They lie below those that systems give to outgoing connections
// (from 32768 on Linux), which could take the port of a server while it is away.

const firstPort = 20_000;
const portCount = 10_000;
const triesMax = 100;
const given = new Set<number>();

/** A loopback port that nobody listens on and that this process has not given yet. */
export async function findSteadyPort(): Promise<number> {
  for (let count = 0; count < triesMax; count += 1) {
    const port = firstPort + Math.floor(Math.random() * portCount);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
  throw new Error(`no free port among ${triesMax} from ${firstPort} on`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false; // somebody else's
  }
  server.close();
  await once(server, 'close');
  return true;
}
