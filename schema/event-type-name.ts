import { isEventType, isReservedEventType } from '../src/domain/event-type.ts';
import { rule } from './user-error.ts';

/** The check of an event type that a caller may emit or describe. */
export const ownEventTypeName = rule<string>(
  isEventType,
  'INVALID_EVENT_TYPE',
  'dotted lower-case words like config.deployed',
).pipe(
  rule<string>(
    (type) => !isReservedEventType(type),
    'RESERVED_EVENT_TYPE',
    "outside posthorn.*, which is for Posthorn's own events",
  ),
);
