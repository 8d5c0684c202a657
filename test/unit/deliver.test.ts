import { describe, expect, test } from 'vitest';
import { deliver } from '../../worker/deliver.ts';
import { newId } from '../../src/store/new-id.ts';
import type { Dispatch, SendResult } from '../../src/domain/delivery.ts';
import type { DeliverDeps } from '../../worker/deliver.ts';

const dispatch: Dispatch = {
  deliveryId: newId('delivery'),
  projectId: newId('project'),
  eventId: newId('event'),
  webhookId: newId('webhook'),
  eventType: 'config.deployed',
  body: '{}',
  url: 'https://example.com/',
  headers: [],
  signatureStyle: 'STANDARD_WEBHOOKS',
  secrets: [],
  asymmetricKeys: [],
  attemptNumber: 1,
  roundStart: 0,
  maxAttempts: 6,
  retryScheduleSeconds: [60],
  trigger: 'AUTOMATIC',
  traceParent: null,
  claimedAt: new Date(),
  createdAt: new Date(),
};

const answer: SendResult = {
  startedAt: new Date(),
  durationMs: 1,
  timings: { dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null },
  response: { status: 500, headers: [], body: '' },
  errorCode: null,
  errorMessage: null,
  retryAfterMs: null,
  receiverControl: null,
};

/** Ports that note their calls; what they give is what the real ones would. */
function ports(calls: string[], changes: Partial<DeliverDeps> = {}): DeliverDeps {
  return {
    claim: async () => {
      calls.push('claim');
      return dispatch;
    },
    send: async () => {
      calls.push('send');
      return answer;
    },
    record: async (claimed, result, decision) => {
      calls.push(`record ${decision.kind}`);
      const delivery = {
        status: 'RETRYING' as const,
        attemptCount: 1,
        dueAt: new Date(),
        finishedAt: null,
        failureReason: null,
      };
      const recorded = { attemptId: newId('attempt'), decided: true, delivery, exhausted: null };
      return { dispatch: claimed, result, decision, recorded };
    },
    announce: async () => void calls.push('announce'),
    random: () => 0.5,
    ...changes,
  };
}

async function recordNothing(): Promise<never> {
  throw new Error('the database is gone');
}

const never = new AbortController().signal;

describe('deliver', () => {
  test('nothing is claimed once the worker was told to stop', async () => {
    const calls: string[] = [];
    await deliver(ports(calls), dispatch.deliveryId, AbortSignal.abort());
    expect(calls).toEqual([]);
  });

  test('takes its five steps once each and in order', async () => {
    const calls: string[] = [];
    await deliver(ports(calls), dispatch.deliveryId, never);
    expect(calls).toEqual(['claim', 'send', 'record retry', 'announce']);
  });

  test('sends nothing when the delivery is not due any more', async () => {
    const calls: string[] = [];
    await deliver(ports(calls, { claim: async () => null }), dispatch.deliveryId, never);
    expect(calls).toEqual([]);
  });

  test('announces nothing that was not committed', async () => {
    const calls: string[] = [];
    await expect(deliver(ports(calls, { record: recordNothing }), dispatch.deliveryId, never)).rejects.toThrow(
      'the database is gone',
    );
    expect(calls).toEqual(['claim', 'send']);
  });
});
