import type { Dispatch } from '../../src/domain/delivery.ts';
import { idFromUuid } from '../../src/domain/ids.ts';

const uuid = '01890a5d-ac96-774b-bcce-b302099a8057';

/** A dispatch to the URL, with what the test cares about changed. */
export function dispatchTo(url: string, changes: Partial<Dispatch> = {}): Dispatch {
  return {
    deliveryId: idFromUuid('delivery', uuid),
    projectId: idFromUuid('project', uuid),
    eventId: idFromUuid('event', uuid),
    webhookId: idFromUuid('webhook', uuid),
    eventType: 'config.deployed',
    body: '{"type":"config.deployed","data":{"name":"wörld"}}',
    url,
    headers: [],
    signatureStyle: 'STANDARD_WEBHOOKS',
    secrets: [Buffer.alloc(32, 7)],
    asymmetricKeys: [],
    attemptNumber: 1,
    roundStart: 0,
    maxAttempts: 6,
    retryScheduleSeconds: [60],
    trigger: 'AUTOMATIC',
    traceParent: null,
    claimedAt: new Date(0),
    createdAt: new Date(0),
    ...changes,
  };
}
