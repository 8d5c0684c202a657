import type { Permission } from '../src/domain/permissions.ts';
import type { DueDelivery } from '../src/domain/delivery.ts';
import type { ApiKeyId, ProjectId } from '../src/domain/ids.ts';
import type { Feed } from '../src/feed/feed.ts';
import type { CleanupResult } from '../src/store/cleanup.ts';
import type { Database } from '../src/store/database.ts';
import type { TraceParent } from '../src/domain/trace-parent.ts';
import type { EmitEvent } from '../src/store/emit-event.ts';
import type { SecretBox } from '../src/store/secret-box.ts';

// schema: the GraphQL API, code first. Every resolver works for exactly one project, its caller's; another project's id is
// NOT_FOUND everywhere. What a resolver needs beyond the store comes from this context, which the gateway fills.

/** Who asks in a project: the holder of one of its API keys, or of an access token that one of them made. */
export interface Caller {
  kind: 'API_KEY' | 'ACCESS_TOKEN';
  /** The key, or the one that made the token. */
  apiKeyId: ApiKeyId;
  projectId: ProjectId;
  permissions: ReadonlySet<Permission>;
  /** When the credential stops working by itself; null is never. */
  expiresAt: Date | null;
}

/** Who holds the deployment's admin key. Belongs to no project. */
export interface Administrator {
  kind: 'ADMINISTRATOR';
}

/** What resolvers do with credentials beyond the database. */
export interface CredentialActions {
  /** Makes the text of an access token, which names the key that makes it. */
  issueAccessToken: (grant: {
    apiKeyId: ApiKeyId;
    permissions: readonly Permission[];
    expiresAt: Date;
  }) => Promise<string>;
  /** The key was revoked: from now on this process does not take it any more. */
  forgetApiKey: (apiKeyId: ApiKeyId) => void;
}

/** What the administrator can have done now, over all projects, that otherwise happens by itself. */
export interface Administration {
  /** Days that history is kept (WEBHOOK_RETENTION_DAYS); null: for ever. */
  retentionDays: number | null;
  /** Hints the workers at deliveries that are due and that nobody took, until the signal aborts; gives how many. */
  sweep: (signal: AbortSignal) => Promise<number>;
  /** Hints the workers at deliveries that one of them took and never recorded, at most `limit`; gives how many. */
  retryStuck: (limit: number) => Promise<number>;
  /** Removes history that ended longer ago, until the signal aborts. */
  cleanup: (olderThanDays: number, signal: AbortSignal) => Promise<CleanupResult>;
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
  caller: Caller | Administrator | null;
  requestId: string;
  /** The cursor that a resuming client of server-sent events names in its request; an argument that says so comes first. */
  lastEventId?: string | null;
  /** Where in a trace the operation is, which events keep that it emits; absent when that is not known. */
  traceParent?: TraceParent | null;
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
  credentials: CredentialActions;
  administration: Administration;
  /** Told of failures that the caller need not know of: what they would have done happens later by itself, or is lost. */
  onWarning: (message: string, error: unknown) => void;
}
