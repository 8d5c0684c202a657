import { createHash, createHmac } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import { Webhook as Verifier } from 'standardwebhooks';
import { answerTo, chaosProjectCount, receiverPlans, statusOf } from './chaos-tempers.ts';
import type { ChaosArrival, ToldReceivers } from './chaos-receivers.ts';
import { startReceiver } from './receiver.ts';
import type { ReceivedRequest, ReceiverAnswer } from './receiver.ts';

// The receivers of a chaos run, all in one process of its own that knows nothing of Posthorn but the webhooks' secrets. It
// tells of every request in the order they came. Started by chaos-receivers.ts.

/** Nothing listens there: the port is privileged and unused (RFC 1078). */
const refusingUrl = 'http://127.0.0.1:1';

let secrets: readonly string[] = [];
let isDown = false;

process.once('disconnect', () => process.exit(0)); // the run has ended, perhaps by a signal
process.on('message', (told: ToldReceivers) => {
  if (told.kind === 'secrets') ({ secrets } = told);
  else ({ isDown } = told);
});

const urls: string[] = [];
for (let place = 0; place < chaosProjectCount * receiverPlans.length; place += 1) urls.push(await startPlace(place));
process.send?.({ kind: 'listening', urls });

async function startPlace(place: number): Promise<string> {
  const temper = receiverPlans[place % receiverPlans.length]?.temper ?? 'FAST';
  if (temper === 'REFUSING') return refusingUrl;
  const receiver = await startReceiver(async (request): Promise<ReceiverAnswer> => {
    const attempt = `${request.headers['x-posthorn-delivery']} ${request.headers['x-posthorn-attempt']}`;
    const { answer, afterMs } = answerTo(temper, attempt, isDown);
    process.send?.({ kind: 'arrival', arrival: arrivalOf(place, request, statusOf(answer)) });
    if (afterMs > 0) await after(afterMs);
    return answer;
  });
  return receiver.url;
}

function arrivalOf(place: number, request: ReceivedRequest, answered: number | null): ChaosArrival {
  const { headers, body, receivedAt } = request;
  const [, brand] = /^x-(.+)-signature$/m.exec(Object.keys(headers).join('\n')) ?? [];
  const { data } = JSON.parse(body) as { data: { number: number } };
  return {
    place,
    deliveryId: headers['x-posthorn-delivery'] ?? '',
    attemptNumber: Number(headers['x-posthorn-attempt']),
    messageId: headers['webhook-id'] ?? '',
    eventNumber: data.number,
    bodyHash: createHash('sha256').update(body).digest('base64url'),
    sender: brand ?? null,
    isGenuine: isGenuine(secrets[place] ?? '', request, brand ?? null),
    answered,
    atMs: receivedAt.getTime(),
  };
}

/** Whether the signature is of this secret, by the outside judge for the standard style and by hand for the other. */
function isGenuine(secret: string, { headers, body }: ReceivedRequest, brand: string | null): boolean {
  if (brand !== null) {
    const [, timestamp, hex] = /^t=(\d+),v1=([0-9a-f]+)$/.exec(headers[`x-${brand}-signature`] ?? '') ?? [];
    return createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex') === hex;
  }
  try {
    new Verifier(secret).verify(body, headers);
    return true;
  } catch {
    return false; // The package throws what it finds wrong.
  }
}
