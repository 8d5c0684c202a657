import { createStack } from './e2e-stack.ts';
import type { Endpoint } from './e2e-client.ts';
import type { E2eStack } from './e2e-stack.ts';
import { runPosthorn, untilReady } from './posthorn.ts';
import type { RunningCommand } from './posthorn.ts';

// Gateways and workers as processes of their own, started and stopped one by one, on servers that they share.

/** A gateway or worker that is ready. Disposal stops it if it still runs. */
export interface Role extends RunningCommand, AsyncDisposable {
  /** Where a gateway answers; empty for a worker. */
  endpoint: Endpoint;
  /** Sends the signal and resolves with how it ended. */
  end: (signal?: 'SIGTERM' | 'SIGKILL') => Promise<{ code: number | null; signal: string | null }>;
}

/** Migrated servers with one project. */
export interface SharedStack extends E2eStack {
  apiKey: string;
}

/** Starts servers, migrates them by the command, and makes a project by the command. */
export async function createSharedStack(env: Record<string, string> = {}): Promise<SharedStack> {
  const stack = await createStack('redis', env);
  try {
    await runToEnd(['migrate'], stack.env);
    const made = await runToEnd(['keys', 'create', '--new-project', 'Shared', '--name', 'All', '--json'], stack.env);
    const { key } = JSON.parse(made) as { key: string };
    return { ...stack, apiKey: key };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}

/** Runs a command that ends by itself, and gives what it printed. Throws with that when it did not end with 0. */
export async function runToEnd(args: readonly string[], env: Record<string, string>): Promise<string> {
  const running = runPosthorn(args, env);
  const { code } = await running.ended;
  if (code !== 0) throw new Error(`posthorn ${args.join(' ')} ended with ${code}:\n${running.output()}`);
  return running.output();
}

/** Starts one and waits until it is ready. */
export async function startRole(command: 'gateway' | 'worker', env: Record<string, string>): Promise<Role> {
  const running = runPosthorn([command], env);
  const end: Role['end'] = async (signal = 'SIGTERM') => {
    if (running.process.exitCode === null && running.process.signalCode === null) running.process.kill(signal);
    return await running.ended;
  };
  await untilReady(running);
  const [, url = ''] = /Posthorn is ready on (http:\S+)\.$/m.exec(running.output()) ?? [];
  return {
    ...running,
    endpoint: { graphqlUrl: `${url}/graphql`, websocketUrl: `${url.replace(/^http/, 'ws')}/graphql` },
    end,
    [Symbol.asyncDispose]: async () => void (await end()),
  };
}
