import { randomUUID } from 'node:crypto';
import { FanOut } from './fan-out.ts';
import { LiveSubscription } from './live-subscription.ts';
import { createOperationScope } from './operation-scope.ts';
import { SharedCache } from './shared-cache.ts';
import { SharedGroup } from './shared-group.ts';
import { shareKey } from './share-key.ts';
import type { ExecutionArgs, GraphQLError } from 'graphql';
import type { Logger } from 'pino';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import type { LiveItems } from '../../schema/live-items.ts';
import type { FeedBatch, Frame } from './feed-batch.ts';
import type { OperationScope } from './operation-scope.ts';
import type { GroupTools } from './shared-group.ts';

export interface SharedSubscriptionsOptions {
  createContext: (caller: Caller | null, requestId: string) => SchemaContext;
  maskError: (error: unknown) => GraphQLError;
  outageOver?: GroupTools['outageOver'];
  logger: Logger;
}

/** Results that are kept for those who come back to the same place of the feed, over all subscriptions. */
const framesBytesMax = 32 * 1024 * 1024;
/** Bytes that are kept for those who are about to take them. */
const batchesBytesMax = 16 * 1024 * 1024;
/** An item shows the webhook as it is now, so who comes back later must not get what was true then. */
const ageMsMax = 5_000;
/** Longest pause between two rounds of writing. */
const pauseMsMax = 10;

/**
 * The subscriptions to the feed of one gateway, in groups of those that see the same. Invariant: who is in a group has the
 * project and the permissions of its key, so a result never reaches anybody who could not have asked for it alone.
 */
export class SharedSubscriptions {
  readonly #options: SharedSubscriptionsOptions;
  readonly #groups = new Map<string, SharedGroup>();
  readonly #fanOut = new FanOut(pauseMsMax);
  readonly #tools: GroupTools;

  constructor(options: SharedSubscriptionsOptions) {
    this.#options = options;
    this.#tools = {
      maskError: options.maskError,
      outageOver: options.outageOver ?? (async () => {}),
      frames: new SharedCache<Frame | null>({
        bytesMax: framesBytesMax,
        ageMsMax,
        bytesOf: (frame) => frame?.json.length ?? 0,
      }),
      batches: new SharedCache<FeedBatch>({
        bytesMax: batchesBytesMax,
        ageMsMax,
        // It is put into the bytes of one transport, hardly ever of more.
        bytesOf: ({ frames }) => 2 * bytesOf(frames),
      }),
    };
  }

  /** Makes a subscription of an operation's items; it writes when it is started. */
  open(args: ExecutionArgs, items: LiveItems<unknown>, scope: OperationScope): LiveSubscription | null {
    const { caller } = scope;
    if (caller === null || caller.kind === 'ADMINISTRATOR') return null;
    return new LiveSubscription({
      fanOut: this.#fanOut,
      items,
      caller,
      join: (now) => this.#join(args, items, now, scope.transport),
      leave: (group) => this.#leave(group),
      onErrorCodes: (codes) => codes.forEach((code) => scope.errorCodes.add(code)),
      onCrash: (error) =>
        this.#options.logger.error({ err: error, requestId: scope.requestId }, 'a subscription broke'),
    });
  }

  #join(
    args: ExecutionArgs,
    { plan }: LiveItems<unknown>,
    caller: Caller,
    transport: OperationScope['transport'],
  ): SharedGroup {
    const key = shareKey(args, caller, plan.startArgument ?? null);
    let group = this.#groups.get(key);
    if (group === undefined) {
      const scope = createOperationScope(randomUUID(), transport, caller);
      const createContext = (): SchemaContext => this.#options.createContext(caller, scope.requestId);
      group = new SharedGroup({ key, args, plan, scope, createContext }, this.#tools);
      this.#groups.set(key, group);
    }
    group.memberCount += 1;
    return group;
  }

  #leave(group: SharedGroup): void {
    group.memberCount -= 1;
    if (group.memberCount === 0) this.#groups.delete(group.key);
  }
}

function bytesOf(frames: readonly Frame[]): number {
  return frames.reduce((sum, { json }) => sum + json.length, 0);
}
