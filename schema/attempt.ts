import { z } from 'zod';
import { idFromUuid } from '../src/domain/ids.ts';
import { type AttemptRow, attemptColumns } from './attempt-loaders.ts';
import { builder } from './builder.ts';
import { Header } from './header.ts';

/** Whether an attempt was answered with a 2xx. */
export const AttemptOutcome = builder.enumType('AttemptOutcome', {
  description: 'How an attempt ended.',
  values: {
    SUCCEEDED: { description: 'The receiver answered with a 2xx status.' },
    FAILED: { description: 'Any other answer, or none.' },
  },
});

/** What asked for an attempt. */
export const AttemptTrigger = builder.enumType('AttemptTrigger', {
  description: 'What asked for an attempt.',
  values: {
    AUTOMATIC: { description: 'The event itself, or the retry schedule.' },
    MANUAL: { description: 'A person who sent the delivery again.' },
    TEST: { description: 'A test of the webhook.' },
  },
});

const AttemptTimings = builder.objectRef<AttemptRow>('AttemptTimings').implement({
  description: 'How long each phase of an attempt took. Null where it did not happen, as on a connection kept alive.',
  fields: (t) => ({
    dnsMs: t.exposeInt('dnsMs', { nullable: true, description: 'Resolving the name, in milliseconds.' }),
    connectMs: t.exposeInt('connectMs', { nullable: true, description: 'Opening the connection, in milliseconds.' }),
    tlsMs: t.exposeInt('tlsMs', { nullable: true, description: 'The TLS handshake, in milliseconds.' }),
    firstByteMs: t.exposeInt('firstByteMs', {
      nullable: true,
      description: 'From the start until the first byte of the answer, in milliseconds.',
    }),
  }),
});

const storedHeaders = z.array(z.object({ name: z.string(), value: z.string() }));

/** The GraphQL type of attempts. */
export const Attempt = builder.prismaObject('Attempt', {
  select: attemptColumns,
  description: 'One HTTP request of a delivery.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `att_…`.', resolve: (attempt) => idFromUuid('attempt', attempt.id) }),
    number: t.int({ description: 'Its number within the delivery, from 1.', resolve: (attempt) => attempt.number }),
    outcome: t.field({ type: AttemptOutcome, description: 'How it ended.', resolve: (attempt) => attempt.outcome }),
    trigger: t.field({
      type: AttemptTrigger,
      description: 'What asked for it.',
      resolve: (attempt) => attempt.trigger,
    }),
    startedAt: t.field({ type: 'DateTime', description: 'When it began.', resolve: (attempt) => attempt.startedAt }),
    durationMs: t.int({
      description: 'How long it took in all, in milliseconds.',
      resolve: (attempt) => attempt.durationMs,
    }),
    timings: t.field({ type: AttemptTimings, description: 'How long each phase took.', resolve: (attempt) => attempt }),
    responseStatus: t.int({
      nullable: true,
      description: 'The HTTP status of the answer; null when there was none.',
      resolve: (attempt) => attempt.responseStatus,
    }),
    responseHeaders: t.field({
      type: [Header],
      description: 'The headers of the answer, at most 32; empty when there was none.',
      select: { responseHeaders: true },
      resolve: (attempt) => storedHeaders.parse(attempt.responseHeaders ?? []),
    }),
    responseBody: t.string({
      nullable: true,
      description: 'The first 4 KiB of the answer; null when there was none.',
      select: { responseBody: true },
      resolve: (attempt) => attempt.responseBody,
    }),
    errorCode: t.string({
      nullable: true,
      description:
        'What went wrong when no answer counted, as stable text: DNS, CONNECT, TLS, TIMEOUT, …; null otherwise.',
      resolve: (attempt) => attempt.errorCode,
    }),
    errorMessage: t.string({
      nullable: true,
      description: 'What went wrong, for people; null when nothing did.',
      resolve: (attempt) => attempt.errorMessage,
    }),
    delivery: t.relation('delivery', { description: 'The delivery that it belongs to.' }),
  }),
});

/** Pages of attempts. */
export const AttemptConnection = builder.connectionObject(
  { type: Attempt, name: 'AttemptConnection', description: 'Attempts, newest first.' },
  { name: 'AttemptEdge', description: 'An attempt and its place in the list.' },
);
