import type { ListedEvent, ListedWebhook } from '../src/store/joined-rows.ts';

/** The events that pages of deliveries were read with, by the row of the delivery. */
export const joinedEvents = new WeakMap<object, ListedEvent>();

/** And the webhooks. */
export const joinedWebhooks = new WeakMap<object, ListedWebhook>();
