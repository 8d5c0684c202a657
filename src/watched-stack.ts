import { logFinding } from './log-finding.ts';
import { tellOutage } from './tell-outage.ts';
import { Outage } from './outage.ts';
import { isRedisAway } from './queue-outage.ts';
import { startStack } from './stack/stack.ts';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import type { Stack } from './stack/stack.ts';

/** Starts the stack, and logs an outage of the volatile Redis as two lines, however often its connections fail. Rejects as `startStack` does. */
export async function startWatchedStack(config: Config, logger: Logger): Promise<Stack> {
  await using starting = new AsyncDisposableStack();
  let outage: Outage | null = null; // what fails before there is one ends the start
  const stack = starting.use(
    await startStack(config, {
      onError: (error) => {
        if (outage?.failed(error) !== true) logger.warn({ err: error }, 'feed connection');
      },
      onFinding: (finding) => logFinding(logger, finding),
    }),
  );
  const { feed } = stack;
  outage = starting.use(
    new Outage({ ...tellOutage(logger, 'feed'), isAway: isRedisAway, probe: async () => await feed.ping() }),
  );
  const owned = starting.move();
  return { ...stack, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}
