import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import type { EmitEvent } from '../store/emit-event.ts';

/** Creates what counts the events that are emitted through an emitter. One that rejects is counted as `failed`. */
export function createEventMetrics(registry: Registry): (emitEvent: EmitEvent) => EmitEvent {
  const events = new Counter({
    name: 'posthorn_events_total',
    help: 'Events emitted through the API by result: stored, duplicate, conflict, refused (by the schema of their type) or failed.',
    labelNames: ['result'],
    registers: [registry],
  });
  const results = ['stored', 'duplicate', 'conflict', 'refused', 'failed'] as const;
  for (const result of results) events.inc({ result }, 0);
  return (emitEvent) => async (input) => {
    let result: (typeof results)[number] = 'failed';
    try {
      const emitted = await emitEvent(input);
      result = emitted.kind;
      return emitted;
    } finally {
      events.inc({ result });
    }
  };
}
