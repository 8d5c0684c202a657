import { circuitOpenMs, failingReason } from '../src/domain/receiver-health.ts';
import { endsWithin } from '../src/time-limit.ts';
import { InFlightLimit, type Place } from './in-flight-limit.ts';
import { Lane, type CircuitStep, type Started } from './lane.ts';
import type { Dispatch, DueDelivery, SendResult } from '../src/domain/delivery.ts';
import type { DeliveryId, WebhookId } from '../src/domain/ids.ts';
import type { Urgency } from '../src/queue.ts';
import type { RateLimit } from '../src/rate-limit/rate-limit.ts';
import type { CircuitOpening, WebhookRef } from '../src/store/webhook-health.ts';
import type { WebhookSettings } from '../src/store/webhook-settings.ts';

/** What admission needs of the world. */
export interface AdmissionPorts {
  /** Makes one attempt, from claim to announcement. */
  attempt: (deliveryId: DeliveryId) => Promise<void>;
  /** The webhook's settings, at once when they are recent; null when there is no such webhook. */
  recentSettings: (webhookId: WebhookId) => WebhookSettings | Promise<WebhookSettings | null>;
  reloadSettings: (webhookId: WebhookId) => Promise<WebhookSettings | null>;
  /** Parks a due delivery until there is room for it. */
  park: (deliveryId: DeliveryId) => Promise<void>;
  /** Takes parked deliveries of the webhook, oldest first. */
  takeParked: (webhookId: WebhookId, countMax: number) => Promise<readonly DeliveryId[]>;
  openCircuit: (webhook: WebhookRef, opening: CircuitOpening) => Promise<void>;
  closeCircuit: (webhook: WebhookRef) => Promise<void>;
  rateLimit: RateLimit;
  random: () => number;
  /** Told of what failed; no delivery is lost by it. */
  onError: (message: string, error: unknown) => void;
}

export interface AdmissionSettings {
  /** Deliveries under way at once. */
  inFlightMax: number;
  /** Requests of one webhook under way at once. */
  webhookInFlightMax: number;
  /** How long the deliveries of a job wait for room in lanes that move, in milliseconds (default 500). */
  patienceMs?: number;
}

/** Parked deliveries taken at a time at most. */
const takenMax = 128;
const defaultPatienceMs = 500;
/** A lane moves when one of its requests ends within so many milliseconds. */
const movingMs = 200;
/** Lanes from which on those of quiet webhooks are forgotten, and after how long, in milliseconds. */
const lanesMax = 10_000;
const quietMs = 600_000;
const forgetEveryMs = 10_000;
/** The wait after a rate limit that failed, in milliseconds. */
const rateErrorWaitMs = 1_000;

type Waiting = Exclude<Urgency, 'urgent'>;
type Verdict = ReturnType<Lane['arrive']>;

/**
 * Decides when each due delivery is attempted, so that one bad receiver harms nobody: there is room for so many in all, each
 * webhook has its lane, and what must wait longer than a moment is parked in Postgres, where waiting costs nothing. A
 * delivery's job is done once it is started, waits in its lane, or is parked: from there on its claim or its row keeps
 * it, and sweep finds it when this process dies. So no job is held open by the slowest of its deliveries.
 */
export class Admission {
  readonly #ports: AdmissionPorts;
  readonly #webhookInFlightMax: number;
  readonly #patienceMs: number;
  readonly #limit: InFlightLimit;
  readonly #lanes = new Map<WebhookId, Lane>();
  readonly #underWay = new Map<DeliveryId, Started>();
  /** Deliveries being parked and being taken from there, and circuits being written. */
  readonly #moves = new Set<Promise<void>>();
  #lastWrite = Promise.resolve();
  #forgetAtMs = 0;
  #stopping = false;

  constructor(ports: AdmissionPorts, { inFlightMax, webhookInFlightMax, patienceMs }: AdmissionSettings) {
    this.#patienceMs = patienceMs ?? defaultPatienceMs;
    this.#ports = ports;
    this.#webhookInFlightMax = webhookInFlightMax;
    this.#limit = new InFlightLimit(inFlightMax);
  }

  /** Places the deliveries of one job. Gives those that it could not place because it is stopping. */
  async admit(deliveries: readonly DueDelivery[], urgency: Urgency): Promise<DueDelivery[]> {
    const how = urgency === 'released' ? 'released' : 'normal';
    await this.#look(deliveries, how);
    const waiting = urgency === 'urgent' ? this.#startUrgent(deliveries) : deliveries;
    const left: DueDelivery[] = [];
    const full: DueDelivery[] = [];
    const parking: Promise<void>[] = [];
    const settle = (due: DueDelivery, verdict: Verdict | 'left'): void => {
      if (verdict === 'left') left.push(due);
      else if (verdict === 'full') full.push(due);
      else if (verdict === 'park') parking.push(this.#park(this.#laneOf(due.webhookId), due.id));
    };
    for (const due of waiting) settle(due, await this.#enter(due, how));
    const untilMs = performance.now() + this.#patienceMs;
    const enterInTurn = async (ofOne: readonly DueDelivery[]): Promise<void> => {
      for (const due of ofOne) settle(due, await this.#enterPatiently(due, how, untilMs));
    };
    await Promise.all(
      Map.groupBy(full, (due) => due.webhookId)
        .values()
        .map(enterInTurn),
    );
    await Promise.all(parking);
    return left;
  }

  /** Takes in an attempt's result as soon as its request is over: what it says of the receiver, and that there is room. */
  answered(dispatch: Dispatch, result: SendResult): void {
    const started = this.#underWay.get(dispatch.deliveryId);
    if (started === undefined) return;
    const { lane } = started;
    const step = lane.learn(started, dispatch, result);
    lane.sent(started);
    if (step !== null) this.#changeCircuit(lane, dispatch, result, step);
    this.#pump(lane);
  }

  /** Starts nothing any more, and gives what was waiting in lanes. */
  stop(): DueDelivery[] {
    this.#stopping = true;
    this.#limit[Symbol.dispose]();
    return [...this.#lanes.values()].flatMap((lane) => lane.drain().map((id) => ({ id, webhookId: lane.webhookId })));
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    await this.#limit.idle();
    while (this.#moves.size > 0) await Promise.all(this.#moves);
  }

  /** Deliveries under way. */
  get inFlightCount(): number {
    return this.#limit.count;
  }

  /** Shows the lanes what their webhooks' rows say: this moment, when something has just changed that lets deliveries out. */
  async #look(deliveries: readonly DueDelivery[], urgency: 'normal' | 'released'): Promise<void> {
    const { recentSettings, reloadSettings } = this.#ports;
    const loading: Promise<void>[] = [];
    for (const webhookId of new Set(deliveries.map((due) => due.webhookId))) {
      const settings = urgency === 'released' ? reloadSettings(webhookId) : recentSettings(webhookId);
      if (settings instanceof Promise) loading.push(this.#seeLater(this.#laneOf(webhookId), settings));
      else this.#see(this.#laneOf(webhookId), settings);
    }
    if (loading.length > 0) await Promise.all(loading);
  }

  /** Settings that cannot be read now are no reason to send nothing: the claim looks at the webhook again. */
  async #seeLater(lane: Lane, loading: Promise<WebhookSettings | null>): Promise<void> {
    const settings = await loading.catch(() => null);
    if (settings !== null) this.#see(lane, settings);
  }

  #see(lane: Lane, settings: WebhookSettings): void {
    lane.see(settings);
    this.#shed(lane);
  }

  /** Parks what waits in a lane whose circuit is open: it would keep the probe out. */
  #shed(lane: Lane): void {
    for (const id of lane.shed()) void this.#park(lane, id);
  }

  /** Starts what a person waits for, whatever else is under way, and gives those that are too many of one webhook. */
  #startUrgent(deliveries: readonly DueDelivery[]): DueDelivery[] {
    const others: DueDelivery[] = [];
    for (const due of deliveries) {
      const lane = this.#laneOf(due.webhookId);
      if (this.#stopping || !lane.takesUrgent) others.push(due);
      else if (!this.#underWay.has(due.id)) this.#start(lane, due.id, { place: this.#limit.take(), isUrgent: true });
    }
    return others;
  }

  /** Places a delivery as soon as there is room among all; says `left` when there never will be. */
  async #enter(due: DueDelivery, how: Waiting): Promise<Verdict | 'left'> {
    if (this.#underWay.has(due.id)) return 'wait'; // the hint was doubled
    const entered = this.#limit.enter();
    const place = entered instanceof Promise ? await entered : entered;
    if (place === null) return 'left';
    const lane = this.#laneOf(due.webhookId);
    const verdict = this.#underWay.has(due.id) ? 'wait' : lane.arrive(due.id, how);
    if (verdict === 'start') this.#start(lane, due.id, { place, isUrgent: false });
    else this.#startNext(lane, place);
    if (verdict === 'wait') this.#pump(lane);
    return verdict;
  }

  /**
   * Waits a moment for room in a full lane as long as it moves: parking is dear, and a busy worker is not a slow receiver.
   * Once a webhook has a backlog, nobody waits for its lane any more.
   */
  async #enterPatiently(due: DueDelivery, how: Waiting, untilMs: number): Promise<Verdict | 'left'> {
    for (;;) {
      const lane = this.#laneOf(due.webhookId);
      const isWorthIt = !lane.hasBacklog && !this.#stopping && performance.now() < untilMs;
      if (!isWorthIt || !(await endsWithin(movingMs, lane.someSent()))) return lane.overflow();
      const verdict = await this.#enter(due, how);
      if (verdict !== 'full') return verdict;
    }
  }

  #laneOf(webhookId: WebhookId): Lane {
    const known = this.#lanes.get(webhookId);
    if (known !== undefined) return known;
    if (this.#lanes.size >= lanesMax && performance.now() > this.#forgetAtMs) this.#forgetQuiet();
    const lane = new Lane(webhookId, this.#webhookInFlightMax);
    this.#lanes.set(webhookId, lane);
    return lane;
  }

  /** Forgets the lanes of which nothing has been heard for long; what they had learned of their webhooks is learned anew. */
  #forgetQuiet(): void {
    const nowMs = performance.now();
    this.#forgetAtMs = nowMs + forgetEveryMs;
    const sinceMs = nowMs - quietMs;
    for (const [webhookId, lane] of this.#lanes) if (lane.isQuietSince(sinceMs)) this.#lanes.delete(webhookId);
  }

  #start(lane: Lane, id: DeliveryId, { place, isUrgent }: { place: Place; isUrgent: boolean }): void {
    const started = lane.start(isUrgent);
    this.#underWay.set(id, started);
    const end = (): void => {
      lane.sent(started);
      this.#underWay.delete(id);
      place.leave();
      this.#pump(lane);
    };
    this.#ports.attempt(id).then(end, (error: unknown) => {
      this.#ports.onError('delivery', error);
      end();
    });
  }

  /** Lets through what may start, and fetches what that takes: starts under a rate limit, and parked deliveries. */
  #pump(lane: Lane): void {
    if (this.#stopping) return;
    this.#shed(lane);
    this.#startWaiting(lane);
    void this.#askTokens(lane);
    this.#takeParked(lane);
    if (lane.isForgettable && this.#lanes.get(lane.webhookId) === lane) this.#lanes.delete(lane.webhookId);
  }

  /** Starts what waits in the lane, as far as there is room in all; beyond that it asks for one place after the other. */
  #startWaiting(lane: Lane): void {
    while (lane.hasNext && !lane.isAwaitingPlace) {
      const entered = this.#limit.enter();
      if (entered instanceof Promise) void this.#startLater(lane, entered);
      else this.#startNext(lane, entered);
    }
  }

  async #startLater(lane: Lane, entered: Promise<Place | null>): Promise<void> {
    lane.isAwaitingPlace = true;
    const place = await entered;
    lane.isAwaitingPlace = false;
    if (place !== null) this.#startNext(lane, place);
    this.#pump(lane);
  }

  #startNext(lane: Lane, place: Place): void {
    const id = lane.next();
    if (id === null || this.#underWay.has(id)) place.leave();
    else this.#start(lane, id, { place, isUrgent: false });
  }

  async #askTokens(lane: Lane): Promise<void> {
    const wanted = lane.tokensWanted();
    if (wanted === null || lane.isAskingTokens) return;
    lane.isAskingTokens = true;
    try {
      const { granted, waitMs } = await this.#ports.rateLimit.take(lane.webhookId, wanted.perSecond, wanted.count);
      lane.grant(granted);
      if (granted === 0) await new Promise((resolve) => setTimeout(resolve, waitMs).unref());
    } catch (error) {
      this.#ports.onError('rate limit', error);
      await new Promise((resolve) => setTimeout(resolve, rateErrorWaitMs).unref());
    }
    lane.isAskingTokens = false;
    this.#pump(lane);
  }

  #takeParked(lane: Lane): void {
    const countMax = Math.min(takenMax, lane.backlogWanted());
    if (countMax > 0 && !lane.isTakingParked) this.#follow(this.#takeSome(lane, countMax));
  }

  async #takeSome(lane: Lane, countMax: number): Promise<void> {
    lane.takeParked();
    try {
      const ids = await this.#ports.takeParked(lane.webhookId, countMax);
      lane.tookParked(ids.length < countMax);
      if (this.#stopping) for (const id of ids) void this.#park(lane, id);
      else lane.wait(ids);
    } catch (error) {
      lane.tookParked(true); // sweep will let one through, which tells us again
      this.#ports.onError('parked deliveries', error);
    }
    await this.#seeLater(lane, Promise.resolve(this.#ports.recentSettings(lane.webhookId)));
    this.#pump(lane);
  }

  #changeCircuit(lane: Lane, dispatch: Dispatch, result: SendResult, step: CircuitStep): void {
    const { projectId, webhookId } = dispatch;
    if (step.kind === 'close') {
      this.#write(lane, async () => await this.#ports.closeCircuit({ projectId, webhookId }));
      return;
    }
    const { openCount } = step;
    const openMs = circuitOpenMs(openCount, this.#ports.random());
    for (const id of lane.open(openCount, openMs)) void this.#park(lane, id);
    const opening = { reason: failingReason(result), openMs, openCount };
    this.#write(lane, async () => await this.#ports.openCircuit({ projectId, webhookId }, opening));
  }

  /** Writes a change of a webhook's circuit, in its turn: a network that fails opens thousands at once. */
  #write(lane: Lane, change: () => Promise<void>): void {
    lane.circuitWrites += 1;
    const write = async (): Promise<void> => {
      await change().catch((error: unknown) =>
        this.#ports.onError('a circuit was not written; the next attempt that says the same writes it', error),
      );
      const settings = await this.#ports.reloadSettings(lane.webhookId).catch(() => null);
      lane.circuitWrites -= 1;
      if (settings !== null) this.#see(lane, settings);
      if (settings?.circuit === null) lane.hasBacklog = true;
      this.#pump(lane);
    };
    this.#lastWrite = this.#lastWrite.then(write).catch((error: unknown) => this.#ports.onError('a circuit', error));
    this.#follow(this.#lastWrite);
  }

  /** Parks a delivery; what was taken of the parked ones meanwhile may be without it. */
  #park(lane: Lane, id: DeliveryId): Promise<void> {
    const park = async (): Promise<void> => {
      lane.parkings += 1;
      await this.#ports
        .park(id)
        .catch((error: unknown) => this.#ports.onError('a delivery was not parked; sweep will find it', error));
      lane.parkings -= 1;
      lane.parked();
      this.#pump(lane);
    };
    const parking = park();
    this.#follow(parking);
    return parking;
  }

  /** Keeps what never rejects until it is done, for `idle`. */
  #follow(move: Promise<void>): void {
    this.#moves.add(move);
    void move.then(() => this.#moves.delete(move));
  }
}
