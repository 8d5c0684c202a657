import { createdEntry } from '../src/feed/feed-entries.ts';
import type { EmitInput, EmitResult } from '../src/store/emit-event.ts';
import { announce } from './announce.ts';
import type { HintOptions, SchemaContext } from './context.ts';

/** What is the same for all events of a call. */
export interface EmitOptions {
  now: Date;
  urgency: NonNullable<HintOptions['urgency']>;
}

/** An event with what became of it. */
interface Emitted {
  input: EmitInput;
  result: EmitResult;
}

/**
 * Stores the events, tells the workers what is due and when, and the feed what was created. Neither of these can fail an
 * emit. Gives the results in order; when one cannot be had, the others are hinted at and announced before it rejects.
 */
export async function emitAndHint(
  context: SchemaContext,
  inputs: readonly EmitInput[],
  options: EmitOptions,
): Promise<EmitResult[]> {
  const settled = await Promise.allSettled(
    inputs.map(async (input) => await context.emitEvent({ ...input, traceParent: context.traceParent ?? null })),
  );
  const emitted = inputs.flatMap((input, index) => {
    const outcome = settled[index];
    return outcome?.status === 'fulfilled' ? [{ input, result: outcome.value }] : [];
  });
  // First to the feed: a watcher sees a delivery created before it sees it attempted.
  await announceCreated(context, emitted, options.now);
  hint(context, emitted, options);
  for (const outcome of settled) if (outcome.status === 'rejected') throw outcome.reason;
  return emitted.map(({ result }) => result);
}

async function announceCreated(context: SchemaContext, emitted: readonly Emitted[], now: Date): Promise<void> {
  const entries = emitted.flatMap(({ result }) =>
    result.kind === 'stored' ? result.deliveries.map((delivery) => createdEntry(result.event, delivery, now)) : [],
  );
  await announce(context, entries);
}

/** Not awaited: the events are stored, and a queue that is slow or down must not keep their caller waiting. */
function hint(context: SchemaContext, emitted: readonly Emitted[], { now, urgency }: EmitOptions): void {
  const byDelay = Map.groupBy(emitted, ({ input }) => Math.max(0, (input.deliverAt ?? now).getTime() - now.getTime()));
  for (const [delayMs, group] of byDelay) {
    const pending = group.flatMap(({ result }) =>
      result.kind === 'stored' ? result.deliveries.filter(({ status, held }) => status === 'PENDING' && !held) : [],
    );
    if (pending.length > 0) void context.enqueue(pending, { delayMs, urgency });
  }
}
