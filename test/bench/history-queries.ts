/** What queries are asked with. */
export interface QueryValues {
  project: string;
  webhook: string;
  /** A delivery of the webhook, in the middle of its history; as a cursor too. */
  delivery: string;
  since: string;
  until: string;
}

/** A page that the API serves, as an operation and as the SQL that it cannot do without. */
export interface HistoryQuery {
  name: string;
  /** Takes `$webhook`, `$delivery`, `$after`, `$since` and `$until`, as far as it names them. */
  operation: string;
  /** Its parameters are what `uses` names, in that order. */
  sql: string;
  uses: readonly (keyof QueryValues)[];
  /** Whose deliveries. */
  webhook: 'hot' | 'cold';
  /** Whether it finds nothing. */
  isEmpty?: true;
}

const columns = `id, project_id, event_id, webhook_id, status, attempt_count, max_attempts, round_start, trigger, due_at,
  failure_reason, created_at, finished_at`;

const page = `nodes {
  id status attemptCount maxAttempts failureReason createdAt finishedAt
  event { id type } lastAttempt { number outcome responseStatus durationMs }
} pageInfo { hasNextPage endCursor }`;

const ofWebhook = (args: string, declared = ''): string =>
  `query Page($webhook: ID!${declared}) { webhook(id: $webhook) { deliveries(${args}) { ${page} } } }`;
const ofProject = (args: string, declared = ''): string =>
  `query Page${declared} { deliveries(first: 50${args}) { ${page} } }`;
const sqlOf = (condition: string, limit = 51): string =>
  `select ${columns} from deliveries where project_id = $1 ${condition} order by id desc limit ${limit}`;

/**
 * The pages whose cost must not grow with the history. A cold webhook has 33 deliveries in the smallest one, so its pages
 * have 15.
 */
export const historyQueries: readonly HistoryQuery[] = [
  {
    name: 'hot webhook, first 50',
    webhook: 'hot',
    operation: ofWebhook('first: 50'),
    sql: sqlOf('and webhook_id = $2'),
    uses: ['project', 'webhook'],
  },
  {
    name: 'hot webhook, half way down',
    webhook: 'hot',
    operation: ofWebhook('first: 50, after: $after', ', $after: String!'),
    sql: sqlOf('and webhook_id = $2 and id < $3'),
    uses: ['project', 'webhook', 'delivery'],
  },
  {
    name: 'hot webhook, FAILED',
    webhook: 'hot',
    operation: ofWebhook('first: 50, filter: { statuses: [FAILED] }'),
    sql: sqlOf(`and webhook_id = $2 and status = 'FAILED'`),
    uses: ['project', 'webhook'],
  },
  {
    name: 'cold webhook, first 15',
    webhook: 'cold',
    operation: ofWebhook('first: 15'),
    sql: sqlOf('and webhook_id = $2', 16),
    uses: ['project', 'webhook'],
  },
  {
    name: 'cold webhook, half way down',
    webhook: 'cold',
    operation: ofWebhook('first: 15, after: $after', ', $after: String!'),
    sql: sqlOf('and webhook_id = $2 and id < $3', 16),
    uses: ['project', 'webhook', 'delivery'],
  },
  {
    name: 'project, first 50',
    webhook: 'hot',
    operation: ofProject(''),
    sql: sqlOf(''),
    uses: ['project'],
  },
  {
    name: 'project, half way down',
    webhook: 'hot',
    operation: ofProject(', after: $after', '($after: String!)'),
    sql: sqlOf('and id < $2'),
    uses: ['project', 'delivery'],
  },
  {
    name: 'project, FAILED',
    webhook: 'hot',
    operation: ofProject(', filter: { statuses: [FAILED] }'),
    sql: sqlOf(`and status = 'FAILED'`),
    uses: ['project'],
  },
  {
    name: 'project, CANCELLED: there is none',
    webhook: 'hot',
    operation: ofProject(', filter: { statuses: [CANCELLED] }'),
    sql: sqlOf(`and status = 'CANCELLED'`),
    uses: ['project'],
    isEmpty: true,
  },
  {
    name: 'project, one day two weeks ago',
    webhook: 'hot',
    operation: `query Page($since: DateTime!, $until: DateTime!) {
      deliveries(first: 50, filter: { since: $since, until: $until }) { ${page} } }`,
    sql: sqlOf('and id >= posthorn_uuid_at($2) and id < posthorn_uuid_at($3)'),
    uses: ['project', 'since', 'until'],
  },
  {
    name: 'attempts of a delivery',
    webhook: 'hot',
    operation: `query Page($delivery: ID!) { delivery(id: $delivery) {
      id status attempts(first: 50) { nodes { id number outcome startedAt durationMs responseStatus } } } }`,
    sql: 'select * from attempts where delivery_id = $1 order by id desc limit 51',
    uses: ['delivery'],
  },
  {
    name: 'events of the project, first 50',
    webhook: 'hot',
    operation: `{ events(first: 50) { nodes { id type occurredAt createdAt } pageInfo { hasNextPage endCursor } } }`,
    sql: `select id, project_id, type, occurred_at, created_at, idempotency_key from events
      where project_id = $1 order by id desc limit 51`,
    uses: ['project'],
  },
];
