import { z } from 'zod';
import { failureReasons } from '../src/domain/delivery.ts';
import { isEventTypeFilter } from '../src/domain/event-type.ts';
import type { WebhookId } from '../src/domain/ids.ts';
import type { RecoveryInput } from '../src/store/recoveries.ts';
import { defaultStatuses, recoverableStatuses, type RecoveryFilter } from '../src/store/recovery-scope.ts';
import { filterEntriesMax } from './delivery-filter.ts';
import { rule } from './user-error.ts';

const ratePerSecondMax = 5_000;

const noFilter: RecoveryFilter = {
  webhookIds: null,
  statuses: [...defaultStatuses],
  eventTypes: null,
  failureReasons: null,
};

/** Before each entry is looked at, so that a long list is one error. */
const short = <Entry>() =>
  rule<Entry[]>((list) => list.length <= filterEntriesMax, 'TOO_MANY_ENTRIES', `at most ${filterEntriesMax} long`);

const filterFields = z.object({
  // Whether the project has them is looked up; an id that is none is not found there either.
  webhookIds: short<WebhookId>().nullable().default(null),
  statuses: short<(typeof recoverableStatuses)[number]>()
    .pipe(z.array(z.enum(recoverableStatuses)))
    .nullable()
    .default(null)
    .transform((given) => given ?? [...defaultStatuses]),
  eventTypes: short<string>()
    .pipe(
      z.array(
        rule<string>(isEventTypeFilter, 'INVALID_EVENT_TYPE', 'an event type, or a filter like `*` and `config.*`'),
      ),
    )
    .nullable()
    .default(null),
  failureReasons: short<(typeof failureReasons)[number]>()
    .pipe(
      z.array(
        rule<(typeof failureReasons)[number]>(
          isFailureReason,
          'INVALID_FAILURE_REASON',
          `one of ${failureReasons.join(', ')}`,
        ),
      ),
    )
    .nullable()
    .default(null),
});

/** The checks of a recovery's input, whose `until` is this; what is absent gets its default. */
export function recoveryInput(until: Date, now: Date): z.ZodType<RecoveryInput> {
  return z.object({
    filter: filterFields
      .nullable()
      .default(null)
      .transform((filter) => filter ?? noFilter),
    since: rule<Date>((since) => since < until, 'INVALID_RANGE', `before until, ${until.toISOString()}`),
    until: rule<Date>((given) => given <= now, 'INVALID_RANGE', `not later than now, ${now.toISOString()}`),
    dryRun: z
      .boolean()
      .nullable()
      .default(false)
      .transform((dryRun) => dryRun ?? false),
    ratePerSecond: rule<number | null>(isRate, 'INVALID_RATE', `from 1 to ${ratePerSecondMax}`).default(null),
  });
}

function isFailureReason(text: string): boolean {
  return failureReasons.some((reason) => reason === text);
}

function isRate(rate: number | null): boolean {
  return rate === null || (rate >= 1 && rate <= ratePerSecondMax);
}
