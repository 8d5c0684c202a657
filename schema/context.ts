import type { Permission } from '../src/domain/permissions.ts';
import type { DueDelivery } from '../src/domain/delivery.ts';
import type { ApiKeyId, ProjectId } from '../src/domain/ids.ts';
import type { Feed } from '../src/feed/feed.ts';
import type { Database } from '../src/store/database.ts';
import type { EmitEvent } from '../src/store/emit-event.ts';
import type { SecretBox } from '../src/store/secret-box.ts';

// schema: the GraphQL API, code first. Every resolver works for exactly one project, its caller's; another project's id is
// NOT_FOUND everywhere. What a resolver needs beyond the store comes from this context, which the gateway fills.

/** Who asks: the holder of a project's API key. */
export interface Caller {
  apiKeyId: ApiKeyId;
  projectId: ProjectId;
  permissions: ReadonlySet<Permission>;
}

/** What the deployment's settings mean to resolvers. */
export interface SchemaSettings {
  /** Refuse `http:` webhooks (WEBHOOK_REQUIRE_HTTPS). */
  requireHttps: boolean;
  /** Whether webhooks may point at loopback: only the embedded default says yes. */
  allowedCidrs: readonly string[];
  maxAttempts: number;
  retryScheduleSeconds: readonly number[];
  /** Limit of one attempt in milliseconds (WEBHOOK_TIMEOUT); testWebhook waits a little longer. */
  attemptTimeoutMs: number;
}

/** How deliveries are hinted at. */
export interface HintOptions {
  /** Milliseconds until they are due, default 0. */
  delayMs?: number;
  /** `released`: they waited for their webhook, and more may be waiting. `urgent`: a person waits for them. */
  urgency?: 'normal' | 'released' | 'urgent';
}

/** What every resolver is given. One per HTTP request, and one per operation on a WebSocket. */
export interface SchemaContext {
  /** Null without valid credentials; resolvers then fail with UNAUTHENTICATED. */
  caller: Caller | null;
  requestId: string;
  /** The cursor that a resuming client of server-sent events names in its request; an argument that says so comes first. */
  lastEventId?: string | null;
  database: Database;
  secretBox: SecretBox;
  feed: Feed;
  /** Stores events and their deliveries; concurrent calls share a transaction. */
  emitEvent: EmitEvent;
  /** Hints the workers that deliveries are due. Never rejects: a queue that is down is logged, and sweep finds them. */
  enqueue: (deliveries: readonly DueDelivery[], options?: HintOptions) => Promise<void>;
  /**
   * Says why a host, as `hostOf` gives it, may not be sent to, in the words that a delivery would fail with; null when
   * nothing speaks against it or its addresses are not known soon. Never takes long: the worker checks again.
   */
  checkHost: (host: string) => Promise<string | null>;
  settings: SchemaSettings;
  /** Told of failures that the caller need not know of: what they would have done happens later by itself, or is lost. */
  onWarning: (message: string, error: unknown) => void;
}
