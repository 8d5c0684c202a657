import { z } from 'zod';
import type { ProjectId } from '../src/domain/ids.ts';
import type { EmitInput } from '../src/store/emit-event.ts';
import { builder } from './builder.ts';
import { ownEventTypeName } from './event-type-name.ts';
import { idempotencyKeyRequirement, isIdempotencyKey } from './input-text.ts';
import { jsonProblem } from './scalars.ts';
import { checkInput, rule, type Checked } from './user-error.ts';

/** Largest body of an event, in bytes. */
export const bodyBytesMax = 256 * 1024;

/** What id, type, timestamp, project and punctuation add to the data, at most, in bytes. */
const envelopeBytesMax = 512;

/** The longest that a delivery can be put off, 30 days. */
const deliverAtDelayMsMax = 30 * 24 * 3600 * 1000;

/** Makes the input type of an event to emit. */
export function emitInputType(name: string, description: string) {
  return builder.inputType(name, {
    description,
    fields: (t) => ({
      type: t.string({
        required: true,
        description: 'Its type: dotted lower-case words, as in `config.deployed`; not `posthorn.…`, which is reserved.',
      }),
      data: t.field({
        type: 'JSON',
        description:
          'What there is to say about it; 256 KiB with the envelope. Null unless said. Numbers are IEEE doubles. It must ' +
          'match the schema of its event type, if that has one.',
      }),
      idempotencyKey: t.string({
        description:
          'Makes repeating the call harmless: 1 to 255 characters, unique to this event within the project. Used again with ' +
          'the same type and data it gives the first event, whenever that happened or is delivered; with others it is an ' +
          'IDEMPOTENCY_CONFLICT. It is good for as long as its event is kept. Without one, each call stores an event.',
      }),
      occurredAt: t.field({ type: 'DateTime', description: 'When it happened; now unless said.' }),
      deliverAt: t.field({
        type: 'DateTime',
        description: 'Not to be delivered before then, at most 30 days ahead; at once unless said.',
      }),
    }),
  });
}

/** Checks an event to emit. */
export function checkEmitInput(input: unknown, projectId: ProjectId, now: Date): Checked<EmitInput> {
  const checked = checkInput(emitInput, input);
  if (checked.kind === 'refused') return checked;
  const { data = null, occurredAt, ...event } = checked.input;
  return {
    ...checked,
    input: { ...event, projectId, data, occurredAt: occurredAt ?? now, testWebhookId: null },
  };
}

// Made once: zod compiles a schema when it is first used, which takes longer than all else about an emit.
const emitInput = z.object({
  type: ownEventTypeName,
  data: z.unknown().optional().superRefine(requireFittingData),
  idempotencyKey: rule<string | null>(
    (key) => key === null || isIdempotencyKey(key),
    'INVALID_IDEMPOTENCY_KEY',
    idempotencyKeyRequirement,
  ).default(null),
  occurredAt: z.custom<Date | null>().default(null),
  deliverAt: rule<Date | null>(
    (deliverAt) => deliverAt === null || deliverAt.getTime() <= Date.now() + deliverAtDelayMsMax,
    'INVALID_DELIVER_AT',
    'at most 30 days ahead',
  ).default(null),
});

function requireFittingData(data: unknown, issues: z.core.$RefinementCtx): void {
  const problem = jsonProblem(data);
  if (problem !== null) {
    issues.addIssue({ code: 'custom', params: { code: 'INVALID_DATA' }, message: `data ${problem}.` });
    return;
  }
  const bytes = Buffer.byteLength(JSON.stringify(data ?? null));
  if (bytes + envelopeBytesMax <= bodyBytesMax) return;
  const most = bodyBytesMax - envelopeBytesMax;
  const message = `data must be at most ${most} bytes as JSON, not ${bytes}.`;
  issues.addIssue({ code: 'custom', params: { code: 'DATA_TOO_LARGE' }, message });
}
