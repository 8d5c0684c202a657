import { setTimeout as after } from 'node:timers/promises';
import { EmitNumberedDocument } from '../generated/graphql.ts';
import type { ChaosProject } from './chaos-projects.ts';
import { placeOfEvent, webhooksPerEvent } from './chaos-tempers.ts';

/** An event that the API has answered for. */
export interface AcceptedEvent {
  id: string;
  number: number;
  /** When the answer came, in milliseconds since the epoch. */
  atMs: number;
}

/** Events as they are emitted. */
export interface Emission {
  eventCount: number;
  accepted: AcceptedEvent[];
  /** Events before this number may be emitted: faults that take long must not find that all is over. */
  mayGoTo: number;
  /** Answers that said that the event was there already: the answer before it was lost. */
  duplicateCount: number;
}

/** Calls under way at once; while the API is away they wait, and no others are begun. */
const callsMax = 100;
const lookEveryMs = 20;

/**
 * Emits the events at a steady rate, to the projects in turn, each with a key by which repeating it is harmless. Resolves
 * when all have been answered for; rejects when one is refused.
 */
export async function emitAll(
  emission: Emission,
  projects: readonly ChaosProject[],
  eventsPerSecond: number,
): Promise<void> {
  const startedAt = performance.now();
  const calls = new Set<Promise<void>>();
  let failure: unknown = null;
  for (let number = 0; number < emission.eventCount; number += 1) {
    const dueMs = startedAt + (number * 1_000) / eventsPerSecond - performance.now();
    if (dueMs > 0) await after(dueMs);
    while (number >= emission.mayGoTo) await after(lookEveryMs);
    while (calls.size >= callsMax) await Promise.race(calls);
    if (failure !== null) break;
    const call = emitNumber(emission, projects, number).catch((error: unknown) => {
      failure ??= error;
    });
    calls.add(call);
    void call.finally(() => calls.delete(call));
  }
  await Promise.all(calls);
  if (failure !== null) throw failure;
}

async function emitNumber(emission: Emission, projects: readonly ChaosProject[], number: number): Promise<void> {
  const { project, type } = placeOfEvent(number);
  const calls = projects[project]?.calls;
  if (calls === undefined) throw new Error(`there is no project ${project}`);
  const input = { type, data: { number }, idempotencyKey: `event-${number}` };
  const { emitEvent } = await calls.ask(EmitNumberedDocument, { input });
  if (!emitEvent.event || emitEvent.deliveryCount !== webhooksPerEvent) {
    throw new Error(`event ${number} was answered with ${JSON.stringify(emitEvent)}`);
  }
  if (emitEvent.duplicate) emission.duplicateCount += 1;
  emission.accepted.push({ id: emitEvent.event.id, number, atMs: Date.now() });
}
