/** Longest event type, in characters. */
export const eventTypeLengthMax = 128;

const typePattern = /^[a-z0-9_]+(?:\.[a-z0-9_]+)*$/;

/** Whether the text is an event type: dotted lower-case words, as in `config.deployed`, at most 128 characters. */
export function isEventType(text: string): boolean {
  return text.length <= eventTypeLengthMax && typePattern.test(text);
}

/** Whether Posthorn keeps the type for its own events: `posthorn` and all below it. */
export function isReservedEventType(type: string): boolean {
  return type === 'posthorn' || type.startsWith('posthorn.');
}

/** Whether the text is a filter: `*`, an event type, or an event type followed by `.*`. */
export function isEventTypeFilter(text: string): boolean {
  return text === '*' || isEventType(text.endsWith('.*') ? text.slice(0, -2) : text);
}

/**
 * Every filter that matches the event type, from `*` to the type itself: `a.b.c` gives `*`, `a.*`, `a.b.*`, `a.b.c`.
 * A webhook takes an event when its filters and these share one, which Postgres can ask with `&&`.
 * `*` does not match Posthorn's own events: were every webhook told of each failure of every other, a hundred webhooks
 * of which one fails would get a hundred requests for each of its deliveries.
 */
export function matchingFilters(eventType: string): string[] {
  const words = eventType.split('.');
  const prefixes = words.slice(1).map((_, index) => `${words.slice(0, index + 1).join('.')}.*`);
  return [...(isReservedEventType(eventType) ? [] : ['*']), ...prefixes, eventType];
}

/** Whether any of the filters takes the event type. */
export function matchesEventType(filters: readonly string[], eventType: string): boolean {
  return matchingFilters(eventType).some((filter) => filters.includes(filter));
}
