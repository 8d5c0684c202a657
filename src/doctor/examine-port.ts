import { once } from 'node:events';
import { createServer } from 'node:net';
import { z } from 'zod';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';

const check = 'gateway';
const answerLimitMs = 5_000;

/** Whether the gateway's address is free, or a gateway that is ready answers there. */
export async function examinePort({ host, port }: Config): Promise<Finding> {
  if (port === 0) return { check, status: 'ok', message: 'PORT is 0: a free port is taken.', remedy: null };
  const place = `${host} port ${port}`;
  const code = await tryListening(host, port);
  if (code === null) return { check, status: 'ok', message: `${place} is free.`, remedy: null };
  if (code === 'EADDRINUSE') return await examineListener(host, port);
  const message = `Nothing can listen on ${place} (${code}).`;
  return {
    check,
    status: 'failed',
    message,
    remedy: 'Set HOST and PORT to an address of this machine that this user may take.',
  };
}

/** The system's code of why not, or null. */
async function tryListening(host: string, port: number): Promise<string | null> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
    return null;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}

/** What a gateway answers to /ready. */
const readiness = z.object({
  status: z.enum(['ready', 'degraded', 'not ready']),
  checks: z.record(z.string(), z.string()),
});

async function examineListener(host: string, port: number): Promise<Finding> {
  const anywhere = host === '0.0.0.0' || host === '::' ? 'localhost' : host;
  const url = `http://${anywhere.includes(':') ? `[${anywhere}]` : anywhere}:${port}/ready`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(answerLimitMs) });
    const { status, checks } = readiness.parse(await response.json());
    if (status === 'ready') return { check, status: 'ok', message: `A gateway is ready at ${url}.`, remedy: null };
    const parts = Object.entries(checks).map(([name, result]) => `${name} ${result}`);
    const message = `The gateway at ${url} is ${status}: ${parts.join(', ')}.`;
    return {
      check,
      status: status === 'degraded' ? 'warning' : 'failed',
      message,
      remedy: 'See its log, which has the reason.',
    };
  } catch {
    const message = `What listens on ${host} port ${port} is no gateway: ${url} is not answered as by one.`;
    return { check, status: 'failed', message, remedy: 'Stop it, or set PORT to another port.' };
  }
}
