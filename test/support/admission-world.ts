import { randomUUID } from 'node:crypto';
import { idFromUuid } from '../../src/domain/ids.ts';
import { Admission } from '../../worker/admission.ts';
import { dispatchTo } from './dispatch.ts';
import type { Dispatch, DueDelivery, SendResult } from '../../src/domain/delivery.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { Urgency } from '../../src/queue.ts';
import type { OpenCircuit, WebhookSettings } from '../../src/store/webhook-settings.ts';
import type { AdmissionPorts, AdmissionSettings } from '../../worker/admission.ts';

// Admission in a world of its own: a database of deliveries and webhooks in memory, and attempts that end when the test
// says so. The stand-ins keep the contract of the ports: what they are asked for takes effect at one moment, somewhen
// between the call and its answer.

/** Where a delivery stands in the world's database. */
export type Place = 'due' | 'held' | 'attempting' | 'attempted';

export interface WorldOptions extends Partial<AdmissionSettings> {
  ports?: Partial<AdmissionPorts>;
  /** Milliseconds that the next call of a port takes; 0 and no more than a turn of the microtasks by default. */
  latencyMs?: () => number;
}

export interface AttemptUnderWay extends DueDelivery {
  /** Ends the request, and with it the attempt unless `recording` is given: then when that resolves. */
  end(result: SendResult, options?: { recording?: Promise<void>; trigger?: Dispatch['trigger'] }): void;
}

/** Such a world. */
export interface AdmissionWorld {
  admission: Admission;
  /** Those under way this moment, in the order in which they started. */
  readonly underWay: AttemptUnderWay[];
  /** How often each delivery was attempted. */
  attemptCounts: Map<DeliveryId, number>;
  places: Map<DeliveryId, Place>;
  /** Messages of `onError`. */
  errors: string[];
  /** Calls of each port so far. */
  calls: Record<'attempt' | 'takeParked' | 'openCircuit' | 'closeCircuit' | 'park', number>;
  setWebhook(id: WebhookId, settings: { rateLimitPerSecond?: number | null; circuit?: OpenCircuit | null }): void;
  circuitOf(id: WebhookId): OpenCircuit | null;
  /** Stores new due deliveries. */
  add(webhookId: WebhookId, count: number, place?: 'due' | 'held'): DueDelivery[];
  /** A job comes in. Gives what admission left. */
  admit(deliveries: readonly DueDelivery[], urgency?: Urgency): Promise<DueDelivery[]>;
  /** What sweep would enqueue as released: one held delivery of each webhook that may take it. */
  release(): DueDelivery[];
  underWayOf(webhookId: WebhookId): AttemptUnderWay[];
  countOf(place: Place): number;
}

export function newWebhookId(): WebhookId {
  return idFromUuid('webhook', randomUUID());
}

export function createAdmissionWorld(options: WorldOptions = {}): AdmissionWorld {
  const deliveries = new DeliveryTable();
  const webhooks = new Map<WebhookId, { rateLimitPerSecond: number | null; circuit: OpenCircuit | null }>();
  const webhookOf = (id: WebhookId) => webhooks.get(id) ?? { rateLimitPerSecond: null, circuit: null };
  const calls = { attempt: 0, takeParked: 0, openCircuit: 0, closeCircuit: 0, park: 0 };
  const errors: string[] = [];
  const underWay: AttemptUnderWay[] = [];
  const travel = async (): Promise<void> => {
    const ms = options.latencyMs?.() ?? 0;
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms)); // the global one, which tests replace
  };
  const read = async (id: WebhookId): Promise<WebhookSettings> => {
    await travel();
    return settingsOf(webhookOf(id));
  };
  const attempt = async (id: DeliveryId): Promise<void> => {
    calls.attempt += 1;
    await travel();
    const webhookId = deliveries.claim(id);
    if (webhookId === null) return;
    const recorded = Promise.withResolvers<void>();
    const mine: AttemptUnderWay = {
      id,
      webhookId,
      end: (result, { recording, trigger = 'AUTOMATIC' } = {}) => {
        underWay.splice(underWay.indexOf(mine), 1);
        admission.answered(dispatchTo('http://127.0.0.1:9/', { deliveryId: id, webhookId, trigger }), result);
        deliveries.places.set(id, 'attempted');
        recorded.resolve(recording);
      },
    };
    underWay.push(mine);
    await recorded.promise;
  };
  const admission: Admission = new Admission(
    {
      attempt,
      recentSettings: read,
      reloadSettings: read,
      park: async (id) => {
        calls.park += 1;
        await travel();
        deliveries.park(id);
        await travel();
      },
      takeParked: async (webhookId, countMax) => {
        calls.takeParked += 1;
        await travel();
        const taken = webhookOf(webhookId).circuit === null ? deliveries.take(webhookId, countMax) : [];
        await travel();
        return taken;
      },
      openCircuit: async ({ webhookId }, { openMs, openCount }) => {
        calls.openCircuit += 1;
        await travel();
        webhooks.set(webhookId, {
          ...webhookOf(webhookId),
          circuit: { openUntilMs: performance.now() + openMs, openCount },
        });
        await travel();
      },
      closeCircuit: async ({ webhookId }) => {
        calls.closeCircuit += 1;
        await travel();
        webhooks.set(webhookId, { ...webhookOf(webhookId), circuit: null });
        await travel();
      },
      rateLimit: unlimited,
      random: () => 0.5,
      onError: (message) => void errors.push(message),
      ...options.ports,
    },
    {
      inFlightMax: options.inFlightMax ?? 1_000,
      webhookInFlightMax: options.webhookInFlightMax ?? 64,
      patienceMs: options.patienceMs ?? 0,
    },
  );
  return {
    admission,
    get underWay() {
      return [...underWay];
    },
    attemptCounts: deliveries.attemptCounts,
    places: deliveries.places,
    errors,
    calls,
    setWebhook: (id, changes) => void webhooks.set(id, { ...webhookOf(id), ...changes }),
    circuitOf: (id) => webhookOf(id).circuit,
    add: (webhookId, count, place = 'due') => deliveries.add(webhookId, count, place),
    admit: async (due, urgency = 'normal') => await admission.admit(due, urgency),
    release: () => deliveries.release((id) => (webhookOf(id).circuit?.openUntilMs ?? 0) <= performance.now()),
    underWayOf: (webhookId) => underWay.filter((each) => each.webhookId === webhookId),
    countOf: (place) => [...deliveries.places.values()].filter((each) => each === place).length,
  };
}

const unlimited = {
  take: async (_key: string, _perSecond: number, wanted: number) => ({ granted: wanted, waitMs: 0 }),
  [Symbol.asyncDispose]: async () => {},
};

/** What the row says, as a worker reads it. */
export function settingsOf(row: Pick<WebhookSettings, 'rateLimitPerSecond' | 'circuit'>): WebhookSettings {
  const endpoint = { kind: 'unreadable', error: null } as const;
  return { ...row, version: '1', endpoint, readAtMs: performance.now(), expiresAtMs: Number.POSITIVE_INFINITY };
}

/** The deliveries; the oldest first. */
class DeliveryTable {
  readonly places = new Map<DeliveryId, Place>();
  readonly attemptCounts = new Map<DeliveryId, number>();
  readonly #webhookIds = new Map<DeliveryId, WebhookId>();

  add(webhookId: WebhookId, count: number, place: 'due' | 'held'): DueDelivery[] {
    return Array.from({ length: count }, () => {
      const id = idFromUuid('delivery', randomUUID());
      this.places.set(id, place);
      this.#webhookIds.set(id, webhookId);
      return { id, webhookId };
    });
  }

  claim(id: DeliveryId): WebhookId | null {
    if (this.places.get(id) !== 'due' && this.places.get(id) !== 'held') return null;
    this.places.set(id, 'attempting');
    this.attemptCounts.set(id, (this.attemptCounts.get(id) ?? 0) + 1);
    return this.#webhookIds.get(id) ?? null;
  }

  park(id: DeliveryId): void {
    if (this.places.get(id) === 'due') this.places.set(id, 'held');
  }

  take(webhookId: WebhookId, countMax: number): DeliveryId[] {
    const taken = this.#held().filter((id) => this.#webhookIds.get(id) === webhookId);
    for (const id of taken.slice(0, countMax)) this.places.set(id, 'due');
    return taken.slice(0, countMax);
  }

  release(mayTake: (webhookId: WebhookId) => boolean): DueDelivery[] {
    const released = new Map<WebhookId, DeliveryId>();
    for (const id of this.#held()) {
      const webhookId = this.#webhookIds.get(id);
      if (webhookId !== undefined && !released.has(webhookId) && mayTake(webhookId)) released.set(webhookId, id);
    }
    for (const id of released.values()) this.places.set(id, 'due');
    return [...released].map(([webhookId, id]) => ({ id, webhookId }));
  }

  #held(): DeliveryId[] {
    return [...this.places].filter(([, place]) => place === 'held').map(([id]) => id);
  }
}
