import { builder } from './builder.ts';
import './scalars.ts';
import './node.ts';
import './project.ts';
import './api-key.ts';
import './revoke-api-key.ts';
import './access-token.ts';
import './administration.ts';
import './audit-entry.ts';
import './webhook.ts';
import './webhook-mutations.ts';
import './webhook-status.ts';
import './test-webhook.ts';
import './event.ts';
import './event-type.ts';
import './event-type-mutations.ts';
import './emit-event.ts';
import './emit-events.ts';
import './delivery.ts';
import './delivery-relations.ts';
import './resend-delivery.ts';
import './cancel-delivery.ts';
import './replay-event.ts';
import './recovery.ts';
import './recover-deliveries.ts';
import './cancel-recovery.ts';
import './attempt.ts';
import './attempt-preview.ts';
import './delivery-feed.ts';
import './delivery-stats.ts';
import './delivery-stats-ticked.ts';

// The whole schema: each file adds its types with the queries and mutations beside them. Invariants: every root field
// names the permission it needs (required-permission.ts), and every resolver reads and writes within the caller's
// project only. The gateway executes it; schema.graphql is its print (print.ts), which the tests compare.

/** The executable schema; its context value is a SchemaContext (context.ts). */
export const schema = builder.toSchema();
