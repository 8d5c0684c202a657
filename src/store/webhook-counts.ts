import type { Queryable } from './pipelines.ts';

/** Where a webhook can stand. */
export const webhookStatuses = ['ACTIVE', 'FAILING', 'PAUSED', 'DISABLED'] as const;

/** Webhooks of all projects by status, those that were deleted left out. */
export type WebhookCounts = Record<(typeof webhookStatuses)[number], number>;

/** Counts webhooks by status. Reads all of them: not to be called often. */
export async function countWebhooks(database: Queryable): Promise<WebhookCounts> {
  const { rows } = await database.query<{ status: keyof WebhookCounts; count: number }>({
    name: 'count-webhooks',
    text: 'select status::text as status, count(*)::int as count from webhooks where deleted_at is null group by 1',
  });
  const counts: WebhookCounts = { ACTIVE: 0, FAILING: 0, PAUSED: 0, DISABLED: 0 };
  for (const { status, count } of rows) counts[status] = count;
  return counts;
}
