import {
  initialCap,
  nextCap,
  nextFailureWeight,
  failureWeightMax,
  receiverSign,
} from '../src/domain/receiver-health.ts';
import type { Dispatch, SendResult } from '../src/domain/delivery.ts';
import type { DeliveryId, WebhookId } from '../src/domain/ids.ts';
import type { Urgency } from '../src/queue.ts';
import type { OpenCircuit, WebhookSettings } from '../src/store/webhook-settings.ts';

/** What an attempt made of its webhook's circuit. */
export type CircuitStep = { kind: 'open'; openCount: number } | { kind: 'close' };

/** A delivery that has been let through. */
export interface Started {
  readonly lane: Lane;
  readonly startedAtMs: number;
  /** Whether it passed all others. */
  readonly isUrgent: boolean;
  /** Whether its request is over, so that it no longer counts against the cap. */
  isSent: boolean;
}

/** What a rate-limited webhook may have waiting here, in seconds of its rate. */
const rateWaitingSeconds = 2;
/** Deliveries of a webhook under way that passed all others, at most. */
const urgentMax = 8;

/**
 * One webhook as this worker sees it: how many of its requests may be under way, which deliveries wait for room, and
 * whether its circuit is open. It decides and does nothing; admission carries out. Beyond a few that wait here, deliveries
 * are parked in Postgres (`backlog`), and taken from there, oldest first, as room comes: what is parked and what is new
 * take turns then.
 */
export class Lane {
  readonly webhookId: WebhookId;
  readonly #capMax: number;
  /** In the order in which they came. */
  readonly #waiting = new Set<DeliveryId>();
  #inFlight = 0;
  #urgentCount = 0;
  #usedAtMs = performance.now();
  #cap: number;
  #failureWeight = 0;
  #circuit: OpenCircuit | null = null;
  #openedAtMs = 0;
  #ratePerSecond: number | null = null;
  #rateTokens = 0;
  #someSent: PromiseWithResolvers<void> | null = null;
  #isParkedSince = false;
  /** Whether more of its deliveries may be parked in Postgres. */
  hasBacklog = false;
  /** Changes of the circuit that are being written; until they are, what the database says is older than what we know. */
  circuitWrites = 0;
  /** Deliveries that are being parked. */
  parkings = 0;
  /** Whether starts were asked of the rate limit, or a wait for them is on. */
  isAskingTokens = false;
  /** Whether parked deliveries are being taken. */
  isTakingParked = false;
  /** Whether one of those that wait is to start as soon as there is room among all deliveries. */
  isAwaitingPlace = false;

  constructor(webhookId: WebhookId, capMax: number) {
    this.webhookId = webhookId;
    this.#capMax = capMax;
    this.#cap = Math.min(initialCap, capMax);
  }

  /** Whether there is nothing to remember of the webhook. */
  get isForgettable(): boolean {
    const isHealthy = this.#failureWeight === 0 && this.#circuit === null;
    // A delivery whose settings were seen may be waiting for a place: a new lane would not know its rate.
    const isAsNew = this.#ratePerSecond === null && this.#cap === Math.min(initialCap, this.#capMax);
    return this.#isQuiet && isHealthy && isAsNew;
  }

  get #isQuiet(): boolean {
    return this.#inFlight === 0 && this.#waiting.size === 0 && !this.hasBacklog && !this.#isBusy;
  }

  get #isBusy(): boolean {
    const isWriting = this.circuitWrites > 0 || this.parkings > 0;
    return isWriting || this.isAskingTokens || this.isTakingParked || this.isAwaitingPlace;
  }

  /** Takes in what the webhook's row says. */
  see({ rateLimitPerSecond, circuit }: WebhookSettings): void {
    this.#ratePerSecond = rateLimitPerSecond;
    if (this.circuitWrites > 0) return;
    if (circuit !== null && this.#circuit === null) this.#openedAtMs = performance.now();
    if (circuit === null && this.#circuit !== null) this.#failureWeight = 0; // a person or another worker closed it
    this.#circuit = circuit;
  }

  /**
   * Says whether a delivery that comes in may start, waits here, or is to be parked. `full` is for a lane that has no room
   * now and may have some in a moment: a busy webhook whose cap still grows, or a worker that has much to do.
   */
  arrive(id: DeliveryId, urgency: Exclude<Urgency, 'urgent'>): 'start' | 'wait' | 'full' | 'park' {
    if (this.#waiting.has(id)) return 'wait'; // the hint was doubled
    if (urgency === 'released') this.hasBacklog = true;
    else if (this.#isForBacklog()) return 'park';
    if (this.#waiting.size === 0 && this.#mayStart()) {
      this.#spendToken();
      return 'start';
    }
    if (this.#mayWait()) {
      this.#waiting.add(id);
      return 'wait';
    }
    if (this.#circuit !== null || this.#ratePerSecond !== null) return this.overflow();
    return 'full';
  }

  /**
   * Whether what is parked has a right to the room: with a backlog, that and what is new share the places to wait, half and
   * half. Neither keeps the other out for long, and a burst that was parked in part does not send all that follows the same way.
   */
  #isForBacklog(): boolean {
    return this.hasBacklog && !this.#mayStart() && this.#waiting.size * 2 >= this.#waitingMax();
  }

  /** Where one may start, another waits in its place: it is the worker that is busy then, not the webhook. */
  #mayWait(): boolean {
    return this.#circuit === null && (this.#waiting.size < this.#waitingMax() || this.#mayStart());
  }

  /** Resolves when one of its requests is over. */
  async someSent(): Promise<void> {
    this.#someSent ??= Promise.withResolvers();
    await this.#someSent.promise;
  }

  /** Takes note that a delivery is parked for want of room: what comes later shares the room with it. */
  overflow(): 'park' {
    this.hasBacklog = this.#circuit === null;
    return 'park';
  }

  /** Whether a delivery waits that may start now. */
  get hasNext(): boolean {
    return this.#waiting.size > 0 && this.#mayStart();
  }

  /** The next delivery that may start now, or null. */
  next(): DeliveryId | null {
    if (!this.hasNext) return null;
    this.#spendToken();
    const [id = null] = this.#waiting;
    if (id !== null) this.#waiting.delete(id);
    return id;
  }

  /** Counts a delivery that starts. */
  start(isUrgent = false): Started {
    this.#inFlight += 1;
    if (isUrgent) this.#urgentCount += 1;
    this.#usedAtMs = performance.now();
    return { lane: this, startedAtMs: this.#usedAtMs, isUrgent, isSent: false };
  }

  /**
   * Whether one more that a person waits for may pass all others: a few at a time, so that nobody can fill the worker, and
   * none where a rate is set, which holds for everything.
   */
  get takesUrgent(): boolean {
    return this.#ratePerSecond === null && this.#urgentCount < urgentMax;
  }

  /** Whether nothing is under way or waiting, and has not been since then. */
  isQuietSince(ms: number): boolean {
    return this.#isQuiet && this.#usedAtMs < ms;
  }

  /** A delivery's request is over, or it never came to one. */
  sent(started: Started): void {
    if (started.isSent) return;
    started.isSent = true;
    this.#inFlight -= 1;
    if (started.isUrgent) this.#urgentCount -= 1;
    this.#someSent?.resolve();
    this.#someSent = null;
  }

  /** Learns from an attempt's result, before it counts as sent; gives what is to be done to the circuit, if anything. */
  learn(started: Started, dispatch: Dispatch, result: SendResult): CircuitStep | null {
    const sign = receiverSign(result);
    this.#cap = nextCap(this.#cap, sign, { inFlight: this.#inFlight, capMax: this.#capMax });
    const weightBefore = this.#failureWeight;
    this.#failureWeight = nextFailureWeight(weightBefore, sign, dispatch);
    if (sign === 'succeeded') return this.#circuit === null ? null : this.#close();
    if (this.#failureWeight === weightBefore) return null;
    if (this.#circuit === null) return this.#failureWeight >= failureWeightMax ? { kind: 'open', openCount: 1 } : null;
    // What was under way when the circuit opened says nothing new.
    return started.startedAtMs > this.#openedAtMs ? { kind: 'open', openCount: this.#circuit.openCount + 1 } : null;
  }

  /** Opens the circuit and gives what was waiting, to be parked. */
  open(openCount: number, openMs: number): DeliveryId[] {
    this.#openedAtMs = performance.now();
    this.#circuit = { openUntilMs: this.#openedAtMs + openMs, openCount };
    this.hasBacklog = false;
    return this.drain();
  }

  /** What waits although the circuit is open, to be parked: others opened it, or it was taken from there meanwhile. */
  shed(): DeliveryId[] {
    return this.#circuit === null ? [] : this.drain();
  }

  /** A delivery has been parked: what is being taken this moment may come without it. */
  parked(): void {
    if (this.#circuit === null) this.hasBacklog = true;
    this.#isParkedSince = true;
  }

  /** Parked deliveries are being taken, until `tookParked`. */
  takeParked(): void {
    this.isTakingParked = true;
    this.#isParkedSince = false;
  }

  /** They were taken; `isAll` unless there may be more. */
  tookParked(isAll: boolean): void {
    this.isTakingParked = false;
    this.hasBacklog = !isAll || this.#isParkedSince;
  }

  /** Empties what was waiting, and gives it. */
  drain(): DeliveryId[] {
    const ids = [...this.#waiting];
    this.#waiting.clear();
    this.#rateTokens = 0; // what was granted for them is not to come on top of a later grant
    return ids;
  }

  /** Puts deliveries behind those that wait, which were taken from the backlog for that. */
  wait(ids: readonly DeliveryId[]): void {
    for (const id of ids) this.#waiting.add(id);
  }

  /** How many parked deliveries there is room for, 0 while there is none. */
  backlogWanted(): number {
    if (!this.hasBacklog || this.#circuit !== null || this.#waiting.size * 2 > this.#waitingMax()) return 0;
    return this.#waitingMax() - this.#waiting.size;
  }

  /** The rate and how many starts to ask for; null when none is needed. */
  tokensWanted(): { perSecond: number; count: number } | null {
    if (this.#ratePerSecond === null || this.#rateTokens > 0 || this.#waiting.size === 0) return null;
    if (this.#circuit !== null || this.#inFlight >= this.#cap) return null;
    return { perSecond: this.#ratePerSecond, count: Math.min(this.#waiting.size, this.#cap - this.#inFlight) };
  }

  grant(count: number): void {
    this.#rateTokens += count;
  }

  #close(): CircuitStep {
    this.#circuit = null;
    return { kind: 'close' };
  }

  #spendToken(): void {
    if (this.#ratePerSecond !== null) this.#rateTokens -= 1;
  }

  #mayStart(): boolean {
    if (this.#circuit !== null) return this.#inFlight === 0 && performance.now() >= this.#circuit.openUntilMs;
    return this.#inFlight < this.#cap && (this.#ratePerSecond === null || this.#rateTokens > 0);
  }

  #waitingMax(): number {
    const byCap = Math.max(initialCap, this.#cap * 2);
    return this.#ratePerSecond === null
      ? byCap
      : Math.max(1, Math.min(byCap, this.#ratePerSecond * rateWaitingSeconds));
  }
}
