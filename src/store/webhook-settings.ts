import { coalesce } from '../coalesce.ts';
import { parsePrivateKey } from '../domain/asymmetric-key.ts';
import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { secretBytes } from '../domain/signature.ts';
import { webhookHeaders } from './webhook-headers.ts';
import type { Dispatch } from '../domain/delivery.ts';
import type { ProjectId, WebhookId } from '../domain/ids.ts';
import type { SignatureStyle } from '../domain/signature.ts';
import type { Pipelines } from './pipelines.ts';
import type { SecretBox } from './secret-box.ts';

/** Where and how a webhook's requests go. */
export type Endpoint = Pick<
  Dispatch,
  | 'projectId'
  | 'webhookId'
  | 'url'
  | 'headers'
  | 'signatureStyle'
  | 'secrets'
  | 'asymmetricKeys'
  | 'retryScheduleSeconds'
>;

/** A webhook whose secrets or headers cannot be decrypted fails its own claims, not those of the batch. */
export type LoadedEndpoint = { kind: 'readable'; endpoint: Endpoint } | { kind: 'unreadable'; error: unknown };

/** A webhook that is FAILING lets nothing through until its wait is over, and then one attempt as a probe. */
export interface OpenCircuit {
  /** In milliseconds of `performance.now()`: the database says how long the wait still is, so that no two clocks are compared. */
  openUntilMs: number;
  /** Openings in a row, from 1. */
  openCount: number;
}

/** What a worker knows of a webhook. */
export interface WebhookSettings {
  /** Another one after every change of the webhook's row. */
  version: string;
  endpoint: LoadedEndpoint;
  /** Attempts per second over all workers; null is no limit. */
  rateLimitPerSecond: number | null;
  /** Null while the circuit is closed. */
  circuit: OpenCircuit | null;
  /** When this was asked for, and when a secret in it expires, in milliseconds of `performance.now()`. */
  readAtMs: number;
  expiresAtMs: number;
}

/** A claimed delivery's webhook, as its row was when the claim saw it. */
export interface SeenWebhook {
  uuid: string;
  version: string;
}

/** What the deployment says for webhooks that do not. */
export interface EndpointDefaults {
  /** Waits after failed attempts, in seconds. */
  retryScheduleSeconds: readonly number[];
}

/** How old settings may be that only say when to send, in milliseconds; how to send is never stale. */
const usableMs = 60_000;
/** And those that say that a circuit is open. */
const openUsableMs = 1_000;
/** Webhooks kept at hand; those that came first make room. */
const keptMax = 20_000;

/**
 * The settings of the webhooks that this process sends to. A claim reads the version of its webhook's row in the same
 * statement and is given settings of that version, so a changed URL, a rotated secret or a resumption holds from the very
 * next claim on, on every worker, and nothing has to be told to anybody. Whatever changes a webhook's secrets must therefore
 * touch its row.
 */
export class WebhookCache {
  readonly #database: Pipelines;
  readonly #secretBox: SecretBox;
  readonly #defaults: EndpointDefaults;
  readonly #kept = new Map<string, WebhookSettings>();
  readonly #readTogether: (uuid: string) => Promise<WebhookSettings | null>;

  constructor(database: Pipelines, secretBox: SecretBox, defaults: EndpointDefaults) {
    this.#database = database;
    this.#secretBox = secretBox;
    this.#defaults = defaults;
    this.#readTogether = coalesce(async (uuids: string[]) => {
      const found = await this.#read(uuids);
      return uuids.map((uuid) => found.get(uuid) ?? null);
    });
  }

  /**
   * Gives them at once when they were read within the last minute, by a promise otherwise; null when there is no such
   * webhook. They are as new as the last claim of one of its deliveries. There are none while its circuit is open, so what
   * says that it is, is good for a second: others may have closed it, and what is parked for it would wait for the next sweep.
   */
  recent(webhookId: WebhookId): WebhookSettings | Promise<WebhookSettings | null> {
    const uuid = uuidOf(webhookId);
    const settings = this.#kept.get(uuid);
    const ageMs = settings === undefined ? Number.POSITIVE_INFINITY : performance.now() - settings.readAtMs;
    const isUsable = settings !== undefined && ageMs <= (settings.circuit === null ? usableMs : openUsableMs);
    return isUsable ? settings : this.#readTogether(uuid);
  }

  /** Reads them anew. */
  async reload(webhookId: WebhookId): Promise<WebhookSettings | null> {
    return await this.#readTogether(uuidOf(webhookId));
  }

  /** Those of the versions that a claim saw, or later ones, by uuid. */
  async loadVersions(seen: Iterable<SeenWebhook>): Promise<ReadonlyMap<string, WebhookSettings>> {
    const found = new Map<string, WebhookSettings>();
    const missing: string[] = [];
    for (const { uuid, version } of seen) {
      const settings = this.#kept.get(uuid);
      if (settings?.version === version && !isExpired(settings)) found.set(uuid, settings);
      else missing.push(uuid);
    }
    if (missing.length > 0) for (const [uuid, settings] of await this.#read(missing)) found.set(uuid, settings);
    return found;
  }

  async #read(uuids: readonly string[]): Promise<Map<string, WebhookSettings>> {
    const startedAtMs = performance.now();
    const { rows } = await this.#database.pipeline.query<SettingsRow>({
      name: 'load-webhook-settings',
      text: settingsSql,
      values: [[...new Set(uuids)]],
    });
    return new Map(rows.map((row) => [row.id, this.#keep(row, startedAtMs)]));
  }

  #keep(row: SettingsRow, startedAtMs: number): WebhookSettings {
    const before = this.#kept.get(row.id);
    if (before !== undefined && before.readAtMs > startedAtMs) return before; // it was asked for later, and came first
    const known = before?.version === row.version && !isExpired(before) ? before.endpoint : null;
    const settings = settingsOf(row, startedAtMs, known ?? readEndpoint(this.#secretBox, this.#defaults, row));
    this.#kept.delete(row.id);
    this.#kept.set(row.id, settings);
    if (this.#kept.size > keptMax) for (const [oldest] of this.#kept.entries().take(1)) this.#kept.delete(oldest);
    return settings;
  }
}

function isExpired({ expiresAtMs }: WebhookSettings): boolean {
  return performance.now() >= expiresAtMs;
}

// xmin changes with every committed change of the row (PostgreSQL manual, §5.6 System Columns).
const settingsSql = `
select w.id, w.project_id, w.xmin::text as version, w.url, w.headers, w.signature_style::text, w.retry_schedule,
       w.rate_limit_per_second, w.circuit_open_count,
       case when w.status = 'FAILING'
         then greatest(0, extract(epoch from w.circuit_open_until - now()) * 1000)::float8 end as circuit_open_ms,
       active.secrets, active.private_keys, active.expires_in_ms
from webhooks w cross join lateral (
  select coalesce(array_agg(s.ciphertext order by s.id desc) filter (where s.algorithm = 'HMAC_SHA256'), '{}') as secrets,
         coalesce(array_agg(s.ciphertext order by s.id desc)
           filter (where w.sign_asymmetrically and s.algorithm = 'ED25519'), '{}') as private_keys,
         min(extract(epoch from s.expires_at - now()) * 1000)::float8 as expires_in_ms
  from webhook_secrets s where s.webhook_id = w.id and (s.expires_at is null or s.expires_at > now())
) active
where w.id = any($1::uuid[])`;

interface SettingsRow {
  id: string;
  project_id: string;
  version: string;
  url: string;
  headers: unknown;
  signature_style: SignatureStyle;
  retry_schedule: number[];
  rate_limit_per_second: number | null;
  circuit_open_count: number;
  circuit_open_ms: number | null;
  secrets: string[];
  private_keys: string[];
  expires_in_ms: number | null;
}

/** `readAtMs` is when the row was asked for, not when it came: it is that old. */
function settingsOf(row: SettingsRow, readAtMs: number, endpoint: LoadedEndpoint): WebhookSettings {
  const { circuit_open_ms: openMs, circuit_open_count: openCount, expires_in_ms: expiresInMs } = row;
  return {
    version: row.version,
    endpoint,
    rateLimitPerSecond: row.rate_limit_per_second,
    circuit: openMs === null ? null : { openUntilMs: readAtMs + openMs, openCount },
    readAtMs,
    expiresAtMs: expiresInMs === null ? Number.POSITIVE_INFINITY : readAtMs + expiresInMs,
  };
}

function readEndpoint(secretBox: SecretBox, defaults: EndpointDefaults, row: SettingsRow): LoadedEndpoint {
  try {
    const endpoint: Endpoint = {
      projectId: idFromUuid('project', row.project_id) satisfies ProjectId,
      webhookId: idFromUuid('webhook', row.id),
      url: row.url,
      headers: webhookHeaders(secretBox, row),
      signatureStyle: row.signature_style,
      secrets: row.secrets.map((ciphertext) => secretBytes(secretBox.decrypt(ciphertext))),
      asymmetricKeys: row.private_keys.map((ciphertext) => parsePrivateKey(secretBox.decrypt(ciphertext))),
      retryScheduleSeconds: row.retry_schedule.length > 0 ? row.retry_schedule : defaults.retryScheduleSeconds,
    };
    return { kind: 'readable', endpoint };
  } catch (cause) {
    return { kind: 'unreadable', error: new Error(`webhook ${row.id} cannot be read`, { cause }) };
  }
}
