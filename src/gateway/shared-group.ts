import { execute } from 'graphql';
import { FeedError } from '../feed/feed.ts';
import { inOperation } from './operation-scope.ts';
import { errorItem } from '../../schema/live-items.ts';
import { FeedBatch } from './feed-batch.ts';
import { formatResult } from './format-result.ts';
import type { ExecutionArgs, ExecutionResult, GraphQLError } from 'graphql';
import type { LiveItem, LivePlan } from '../../schema/live-items.ts';
import type { SchemaContext } from '../../schema/context.ts';
import type { FeedItem, FeedSubscription } from '../feed/feed.ts';
import type { Frame } from './feed-batch.ts';
import type { OperationScope } from './operation-scope.ts';
import type { SharedCache } from './shared-cache.ts';

/** What all groups share. */
export interface GroupTools {
  maskError: (error: unknown) => GraphQLError;
  /** Resolves when no server that items are loaded from is away any more, or when that takes too long. */
  outageOver: () => Promise<void>;
  frames: SharedCache<Frame | null>;
  batches: SharedCache<FeedBatch>;
}

/** What identical subscriptions are executed with. */
export interface GroupPlan {
  key: string;
  args: ExecutionArgs;
  plan: LivePlan<unknown>;
  /** In which results are executed, errors are masked and logged. */
  scope: OperationScope;
  createContext: () => SchemaContext;
}

/** Items that one batch takes. */
const itemsMax = 100;
/** How often an item is executed again that met an outage; its reader waits for it each time. */
const executedAgainMax = 5;
/** A batch ends with the frame that reaches this; what waits for a reader that takes nothing is hardly more. */
const batchBytes = 64 * 1024;

let groupCount = 0;

/** Identical subscriptions: each item is executed and put into JSON once for all of them, where they stand alike. */
export class SharedGroup {
  readonly key: string;
  /** Subscriptions that are of it now. */
  memberCount = 0;
  readonly #id = `${(groupCount += 1)}:`;
  readonly #plan: GroupPlan;
  readonly #tools: GroupTools;

  constructor(plan: GroupPlan, tools: GroupTools) {
    this.key = plan.key;
    this.#plan = plan;
    this.#tools = tools;
  }

  /**
   * What follows the reader's place, `cursor`; null when nothing does yet, and a batch of no items when one has to ask
   * again. Does not move the reader. Throws or rejects with what the feed does.
   */
  batchAfter(reader: FeedSubscription, cursor: string): FeedBatch | Promise<FeedBatch> | null {
    const { batches } = this.#tools;
    const key = `${this.#id}${cursor}`;
    const known = batches.find(key);
    if (known !== undefined) return known;
    const items = reader.peek(itemsMax);
    if (items instanceof Promise) return batches.keep(key, this.#makeBatchOfPage(items, key));
    return items.length === 0 ? null : batches.keep(key, this.#makeBatch(items));
  }

  /** A batch of values that are not from the feed. */
  batchOf(values: readonly LiveItem<unknown>[], cursor: string | null = null): FeedBatch | Promise<FeedBatch> {
    const context = this.#plan.createContext();
    const frames = values.map((value) => this.#execute(value, context, cursor));
    return haveAll(frames)
      ? new FeedBatch(frames, 0, null)
      : allOf(frames).then((done) => new FeedBatch(done, 0, null));
  }

  /** The batch that tells of what the feed failed with. */
  batchOfError(error: unknown): FeedBatch | Promise<FeedBatch> {
    return this.batchOf([errorItem(error)], error instanceof FeedError ? '' : null);
  }

  async #makeBatchOfPage(page: Promise<readonly FeedItem[]>, key: string): Promise<FeedBatch> {
    const items = await page;
    if (items.length === 0) this.#tools.batches.forget(key);
    return await this.#makeBatch(items);
  }

  #makeBatch(items: readonly FeedItem[]): FeedBatch | Promise<FeedBatch> {
    // One context for all, whose loaders join their lookups; it ends with them, so nothing is remembered for longer.
    const context = this.#plan.createContext();
    const frames = items.map((item) => this.#frameOf(item, context));
    return haveAll(frames) ? cutBatch(items, frames) : allOf(frames).then((done) => cutBatch(items, done));
  }

  #frameOf(item: FeedItem, context: SchemaContext): Frame | null | Promise<Frame | null> {
    const { frames } = this.#tools;
    const key = `${this.#id}${item.cursor}`;
    const known = frames.find(key);
    if (known !== undefined) return known;
    const value = this.#plan.plan.pick(item);
    return frames.keep(key, value === null ? null : this.#execute({ kind: 'value', value }, context, item.cursor));
  }

  #execute(rootValue: LiveItem<unknown>, contextValue: SchemaContext, cursor: string | null): Frame | Promise<Frame> {
    const frameOf = (result: ExecutionResult): Frame => this.#frameOfResult(result, cursor);
    return inOperation(this.#plan.scope, () => {
      const result = execute({ ...this.#plan.args, contextValue, rootValue });
      if (!(result instanceof Promise)) return frameOf(result);
      return result.then((made) => {
        const frame = frameOf(made);
        return metOutage(frame) ? this.#executeAgain(frame, rootValue, cursor) : frame;
      });
    });
  }

  /** The frame that the item makes once what it needs is there again: a watcher loses no item to an outage. */
  async #executeAgain(first: Frame, rootValue: LiveItem<unknown>, cursor: string | null): Promise<Frame> {
    let frame = first;
    for (let count = 0; count < executedAgainMax && metOutage(frame); count += 1) {
      await this.#tools.outageOver();
      const contextValue = this.#plan.createContext();
      frame = this.#frameOfResult(await execute({ ...this.#plan.args, contextValue, rootValue }), cursor);
    }
    return frame;
  }

  #frameOfResult(result: ExecutionResult, cursor: string | null): Frame {
    const errors = result.errors?.map((error) => this.#tools.maskError(error));
    const shown = formatResult(errors === undefined ? result : { ...result, errors });
    const errorCodes = (errors ?? []).map(({ extensions }) => String(extensions['code']));
    // A cursor is only of use to who can go on from it.
    const place = this.#plan.plan.startArgument === undefined ? null : cursor;
    return { json: Buffer.from(JSON.stringify(shown)), cursor: place, errorCodes };
  }
}

function metOutage({ errorCodes }: Frame): boolean {
  return errorCodes.includes('UNAVAILABLE');
}

function cutBatch(items: readonly FeedItem[], frames: readonly (Frame | null)[]): FeedBatch {
  const taken: Frame[] = [];
  let bytes = 0;
  let itemCount = 0;
  for (const frame of frames) {
    if (bytes >= batchBytes) break;
    itemCount += 1;
    if (frame === null) continue;
    taken.push(frame);
    bytes += frame.json.length;
  }
  return new FeedBatch(taken, itemCount, items[itemCount - 1]?.cursor ?? null);
}

function haveAll<Value>(values: readonly (Value | Promise<Value>)[]): values is readonly Value[] {
  return !values.some((value) => value instanceof Promise);
}

async function allOf<Value>(values: readonly (Value | Promise<Value>)[]): Promise<Value[]> {
  return await Promise.all(values.map(async (value) => await value));
}
