import { fork } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import path from 'node:path';

/** A request as a receiver got it. */
export interface ChaosArrival {
  /** Which receiver, from 0 over all projects. */
  place: number;
  deliveryId: string;
  attemptNumber: number;
  /** The header `webhook-id`. */
  messageId: string;
  /** The number that the emitter put into the event's data. */
  eventNumber: number;
  bodyHash: string;
  /** The brand of the process that sent it; null where the signature's style does not show it. */
  sender: string | null;
  isGenuine: boolean;
  /** The status of the answer; null when there was no head. */
  answered: number | null;
  /** When its last byte had come, in milliseconds since the epoch. */
  atMs: number;
}

/** What the process of the receivers is told. */
export type ToldReceivers = { kind: 'secrets'; secrets: readonly string[] } | { kind: 'down'; isDown: boolean };

type ToldByReceivers = { kind: 'listening'; urls: string[] } | { kind: 'arrival'; arrival: ChaosArrival };

/** The receivers and all that came to any of them, in order. */
export interface ChaosReceivers extends Disposable {
  urls: readonly string[];
  arrivals: readonly ChaosArrival[];
  tell: (told: ToldReceivers) => void;
  pid: number;
}

const startLimitMs = 60_000;

/** Starts the process and waits until all of its receivers listen. */
export async function startChaosReceivers(): Promise<ChaosReceivers> {
  const { PATH = '' } = process.env;
  const child = fork(path.join(import.meta.dirname, 'chaos-receivers-process.ts'), { env: { PATH } });
  const arrivals: ChaosArrival[] = [];
  const starting = new EventEmitter();
  child.on('message', (told: ToldByReceivers) => {
    if (told.kind === 'arrival') arrivals.push(told.arrival);
    else starting.emit('listening', told.urls);
  });
  const dispose = (): void => void child.kill('SIGKILL');
  try {
    const [urls] = await once(starting, 'listening', { signal: AbortSignal.timeout(startLimitMs) });
    return {
      urls,
      arrivals,
      tell: (told) => void child.send(told),
      pid: child.pid ?? 0,
      [Symbol.dispose]: dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}
