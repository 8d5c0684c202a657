import { EventEmitter, once } from 'node:events';
import { setTimeout as after } from 'node:timers/promises';
import { startReceiver } from './receiver.ts';
import type { ReceivedRequest, ReceiverAnswer } from './receiver.ts';

/** A request, by what the proof asks of it. */
export interface Arrival {
  deliveryId: string;
  attemptNumber: number;
  /** Which process sent it: the brand that its signature's header is named by. */
  sender: string;
  messageId: string;
  body: string;
}

/** Receivers, one for each webhook, and all that came to any of them, in order. */
export interface CrashReceivers extends AsyncDisposable {
  urls: readonly string[];
  arrivals: readonly Arrival[];
  /** Deliveries of which at least one request has come. */
  deliveryIds: ReadonlySet<string>;
  /** Resolves as soon as the condition holds after an arrival, or does already; rejects after the limit. */
  until(what: string, holds: () => boolean, limitMs: number): Promise<void>;
}

const slowestMs = 50;

/** Starts receivers that take from 0 to 50 ms for an answer. One of them refuses every tenth first attempt with a 500. */
export async function startCrashReceivers(count: number): Promise<CrashReceivers> {
  await using starting = new AsyncDisposableStack();
  const arrivals: Arrival[] = [];
  const deliveryIds = new Set<string>();
  const changes = new EventEmitter();
  const answerOf = async (place: number, request: ReceivedRequest, index: number): Promise<ReceiverAnswer> => {
    const arrival = arrivalOf(request);
    arrivals.push(arrival);
    deliveryIds.add(arrival.deliveryId);
    changes.emit('arrival');
    const answerMs = (place * slowestMs) / Math.max(1, count - 1);
    if (answerMs > 0) await after(answerMs);
    return place === 1 && index % 10 === 0 && arrival.attemptNumber === 1 ? { status: 500 } : {};
  };
  const urls: string[] = [];
  for (let place = 0; place < count; place += 1) {
    const receiver = await startReceiver(async (request, index) => await answerOf(place, request, index));
    urls.push(starting.use(receiver).url);
  }
  const owned = starting.move();
  return {
    urls,
    arrivals,
    deliveryIds,
    until: async (what, holds, limitMs) => {
      const limit = AbortSignal.timeout(limitMs);
      while (!holds()) {
        await once(changes, 'arrival', { signal: limit }).catch((cause: unknown) => {
          throw new Error(`waited ${limitMs} ms for ${what}; ${arrivals.length} requests came`, { cause });
        });
      }
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

function arrivalOf({ headers, body }: ReceivedRequest): Arrival {
  const [, sender] = /^x-(.+)-signature$/m.exec(Object.keys(headers).join('\n')) ?? [];
  const { 'webhook-id': messageId, 'x-posthorn-delivery': deliveryId, 'x-posthorn-attempt': attempt } = headers;
  if (sender === undefined || messageId === undefined || deliveryId === undefined) {
    throw new Error(`a request that is no delivery: ${JSON.stringify(headers)}`);
  }
  return { deliveryId, attemptNumber: Number(attempt), sender, messageId, body };
}
