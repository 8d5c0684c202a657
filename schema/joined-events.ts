import type { ListedEvent } from '../src/store/delivery-pages.ts';

/** The events that pages of deliveries were read with, by the row of the delivery. */
export const joinedEvents = new WeakMap<object, ListedEvent>();
