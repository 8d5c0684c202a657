import { matchesEventType } from '../domain/event-type.ts';
import { untilStopSignal } from '../stop-signal.ts';
import { createDemoClient } from './demo-client.ts';
import { watchFeed } from './demo-feed.ts';
import { findOrStartPosthorn } from './demo-posthorn.ts';
import { demoEvents, demoWebhooks } from './demo-script.ts';
import { checkTally, tallyOf, tallyText } from './demo-tally.ts';
import { startDemoReceiver } from './demo-receiver.ts';
import { emitEvent, listAttemptCounts, registerWebhooks, testWebhook } from './demo-calls.ts';
import type { Config } from '../config.ts';
import type { DemoClient } from './demo-client.ts';
import type { DemoFeed } from './demo-feed.ts';

// src/demo: `posthorn demo`, a user of Posthorn's public API and of nothing else: HTTP, WebSocket and a receiver of its
// own. It leaves nothing behind but the history of what it sent. Called by src/main.ts only.

/** How long everything that the demo sends may take to arrive, in milliseconds; the script needs about three seconds. */
const arrivalLimitMs = 30_000;

/** How often and how long a test delivery is waited for in the feed before anything else is sent. */
const feedProbe = { tries: 10, limitMs: 1000 };

/**
 * Shows Posthorn at work: registers webhooks to a built-in receiver, emits events, and prints the live feed as it
 * happens and a summary at the end. Uses the Posthorn that `demo.json` names when it answers, else starts one and stops
 * it again. Rejects with one clear sentence when something did not arrive, or the counts do not agree.
 */
export async function runDemo(config: Config, print: (text: string) => void): Promise<void> {
  const stopping = new AbortController();
  void untilStopSignal({ delayMs: 0, onHanging: () => print('The demo does not end by itself: given up.') }).then(() =>
    stopping.abort(new Error('the demo was stopped')),
  );
  await using cleanup = new AsyncDisposableStack();
  const posthorn = cleanup.use(await findOrStartPosthorn(config.dataFolder, stopping.signal));
  print(
    `${posthorn.own ? 'Started a Posthorn for this demo' : 'Using the Posthorn that is running'}: ${posthorn.facts.graphqlUrl}`,
  );
  const receiver = cleanup.use(await startDemoReceiver());
  const client = cleanup.use(createDemoClient(posthorn.facts));
  const webhooks = cleanup.use(await registerWebhooks(client, receiver, print));
  for (const { name, does, eventTypes } of demoWebhooks)
    print(`  webhook ${name.padEnd(7)} ${eventTypes.join(', ')}: ${does}`);
  const feed = cleanup.use(watchFeed(client, webhooks.ids, print));
  print('\nA test delivery first, then the events:');
  await untilFeedShows(client, feed, webhooks.ids[0], stopping.signal);

  const eventIds = new Set<string>();
  for (const event of demoEvents) eventIds.add(await emitEvent(client, event));
  const deliveryCount = expectedDeliveryCount();
  const arrived = (): boolean => tallyOf(feed.items, eventIds).endedCount >= deliveryCount;
  await feed.until(arrived, { limitMs: arrivalLimitMs, signal: stopping.signal });

  const tally = tallyOf(feed.items, eventIds);
  const requests = receiver.requests.filter((request) => eventIds.has(request.messageId));
  const stored = await listAttemptCounts(client, webhooks.ids, [...eventIds]);
  print(tallyText({ tally, requests, eventCount: eventIds.size }));
  checkTally({ tally, requests, stored, expected: { deliveryCount, attemptCount: expectedAttemptCount() } });
}

/**
 * A subscription is not acknowledged, so a test delivery is sent until the feed shows one: from then on nothing can be
 * missed. Throws when the feed stays silent.
 */
async function untilFeedShows(
  client: DemoClient,
  feed: DemoFeed,
  webhookId: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (webhookId === undefined) throw new Error('no webhook was registered');
  for (let number = 1; number <= feedProbe.tries; number += 1) {
    await testWebhook(client, webhookId);
    if (await feed.until(() => feed.items.length > 0, { limitMs: feedProbe.limitMs, signal })) return;
  }
  throw new Error(`the feed showed none of ${feedProbe.tries} test deliveries`);
}

function expectedDeliveryCount(): number {
  return demoWebhooks.reduce((sum, webhook) => sum + matchCount(webhook.eventTypes), 0);
}

function expectedAttemptCount(): number {
  return demoWebhooks.reduce((sum, webhook) => sum + matchCount(webhook.eventTypes) * (webhook.failuresFirst + 1), 0);
}

function matchCount(eventTypes: readonly string[]): number {
  return demoEvents.filter((event) => matchesEventType(eventTypes, event.type)).length;
}
