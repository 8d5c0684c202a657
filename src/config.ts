import { z } from 'zod';
import { checkAmounts, checkPresence } from './cross-check.ts';
import { parseAllowedOrigins } from './domain/allowed-origins.ts';
import { defaultMaxAttempts, defaultRetryScheduleSeconds } from './domain/retry-schedule.ts';
import { retentionDaysDefault, retentionDaysMax } from './domain/upkeep.ts';
import type { AllowedOrigins } from './domain/allowed-origins.ts';
import type { EncryptionKey } from './encryption-key.ts';
import type { TracingSettings } from './tracing/otlp-tracer.ts';
import { Secret } from './secret.ts';
import {
  headerText,
  anyText,
  cidrs,
  encryptionKeys,
  exportHeaders,
  host,
  logLevels,
  number,
  redisUrl,
  text,
  trueOrFalse,
  url,
  waits,
  wholeNumber,
} from './setting-kinds.ts';
import { tracingSettingsOf } from './tracing/tracing-settings.ts';
import { version } from './version.ts';

// The only reader of the environment. Every setting is one row of `settings`: its name, its default, what it means and what
// it may be. Invariant: a Config that exists is usable; everything that is wrong is reported at once, secrets never.

/** How this process runs. Times are milliseconds where the name says so. */
export interface Config {
  version: string;
  host: string;
  /** 0 takes a free one. */
  port: number;
  dataFolder: string;
  /** Null means the embedded Postgres. */
  databaseUrl: Secret<string> | null;
  /** Both or neither. */
  redis: { durableUrl: Secret<string>; volatileUrl: Secret<string> } | null;
  adminKey: Secret<string> | null;
  /** Null: anybody who reaches the port may read the metrics. */
  metricsToken: Secret<string> | null;
  /** Port of a worker alone; 0 takes a free one, null: it listens nowhere. */
  workerPort: number | null;
  /** The first encrypts. Null only with the embedded Postgres: the data folder then keeps its own. */
  encryptionKeys: Secret<readonly EncryptionKey[]> | null;
  brand: string;
  attemptTimeoutMs: number;
  maxAttempts: number;
  retryScheduleSeconds: readonly number[];
  requireHttps: boolean;
  allowedCidrs: readonly string[];
  webhookInFlightMax: number;
  disableAfterMs: number;
  /** Null: history is kept for ever. */
  retentionDays: number | null;
  inFlightMax: number;
  jobConcurrency: number;
  sweepIntervalMs: number;
  sweepGraceMs: number;
  logLevel: string;
  /** Null: operations are not charged for. */
  ratePointsPerMinute: number | null;
  introspection: boolean;
  /** A file; null: any operation is executed. */
  persistedOperations: string | null;
  allowedOrigins: AllowedOrigins;
  /** Null: nothing is traced. */
  tracing: TracingSettings | null;
  /** Whether receivers are told the trace. */
  sendTraceparent: boolean;
  stopDelayMs: number;
}

/** Settings that cannot be used; `problems` has one sentence for each, and the message has them all. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.length === 1 ? problems.join('') : ['These settings cannot be used:', ...problems].join('\n- '));
    this.problems = problems;
  }
}

/** A setting as a reader of the README sees it. */
export interface SettingRow {
  name: string;
  default: string;
  meaning: string;
}

/** Every setting, by name, as given or by default. */
export interface GivenSettings {
  given: Record<string, string>;
  defaults: Record<string, string>;
}

type TextSchema<Value> = ReturnType<typeof text<Value>>;
type Row = Omit<SettingRow, 'name'>;

/** A setting with one default. */
function fixed<Value>(defaultText: string, meaning: string, schema: TextSchema<Value>) {
  return schema.prefault(defaultText).meta({ default: defaultText, meaning } satisfies Row);
}

/** A setting whose default, in words, depends on others, or that has none. */
function open<Value>(defaultWords: string, meaning: string, schema: TextSchema<Value>) {
  return schema.optional().meta({ default: defaultWords, meaning } satisfies Row);
}

const settings = z.object({
  PORT: fixed('4000', 'Port of the gateway; 0 takes a free one', wholeNumber(0, 65_535)),
  HOST: open(
    '127.0.0.1; with DATABASE_URL 0.0.0.0',
    'Address to listen on',
    text('an IP address or a host name', host),
  ),
  POSTHORN_DATA: fixed('.posthorn', 'Folder of the embedded PostgreSQL, its keys and demo.json', anyText),
  DATABASE_URL: open('none: embedded PostgreSQL', 'The PostgreSQL to use', url(['postgres', 'postgresql'])),
  REDIS_URI_DURABLE: open('none: the queue is in PostgreSQL', 'Redis of the queue', redisUrl),
  REDIS_URI_VOLATILE: open('none: the feed is in process', 'Redis of the feed', redisUrl),
  POSTHORN_ADMIN_KEY: open('none: no administration over HTTP', 'Key of the administrator', headerText),
  AGENTA_AUTH_KEY: open('none', 'Another name for POSTHORN_ADMIN_KEY', headerText),
  POSTHORN_METRICS_TOKEN: open('none: anybody may read /metrics', 'Token that reading /metrics needs', headerText),
  POSTHORN_ENCRYPTION_KEYS: open(
    'required with DATABASE_URL; embedded: kept in POSTHORN_DATA',
    'Keys that encrypt secrets at rest, `id:base64 of 32 bytes,…`; the first encrypts',
    encryptionKeys,
  ),
  POSTHORN_BRAND: fixed(
    'posthorn',
    'Name in the header `x-<brand>-signature`',
    text('lower-case letters, digits and hyphens', (given) => (/^[a-z0-9-]+$/.test(given) ? given : null)),
  ),
  WEBHOOK_TIMEOUT: fixed('10', 'Deadline of one attempt in seconds', number(0.01, 300, ' seconds')),
  WEBHOOK_MAX_RETRIES: fixed(
    String(defaultMaxAttempts),
    'Attempts in all, the first too; the name is historical',
    wholeNumber(1, 50),
  ),
  WEBHOOK_RETRY_SCHEDULE: fixed(
    defaultRetryScheduleSeconds.join(','),
    'Waits in seconds after each failed attempt; the last repeats',
    text('up to 20 waits in seconds joined by commas, each at most 604800', waits),
  ),
  WEBHOOK_REQUIRE_HTTPS: open('false; with DATABASE_URL true', 'Take only https: URLs', trueOrFalse),
  WEBHOOK_ALLOWED_CIDRS: open(
    '127.0.0.0/8,::1/128; with DATABASE_URL none',
    'Address ranges that webhooks may reach although they are not public',
    text('IP address ranges joined by commas, such as 10.0.0.0/8', cidrs),
  ),
  WEBHOOK_MAX_IN_FLIGHT: fixed('64', 'Requests to one webhook under way at once per worker', wholeNumber(1, 10_000)),
  WEBHOOK_DISABLE_AFTER: fixed(
    '432000',
    'Seconds of failing without one success after which a webhook is disabled',
    number(1, 31_536_000, ' seconds'),
  ),
  WEBHOOK_RETENTION_DAYS: fixed(
    String(retentionDaysDefault),
    'Days that history is kept after it has ended; 0 keeps it for ever',
    wholeNumber(0, retentionDaysMax),
  ),
  WEBHOOK_SEND_TRACEPARENT: fixed(
    'false',
    'Whether requests to receivers carry the W3C header `traceparent`',
    trueOrFalse,
  ),
  WORKER_MAX_IN_FLIGHT: fixed(
    '512',
    'Deliveries under way at once per worker; four times as many with slow ones',
    wholeNumber(1, 100_000),
  ),
  WORKER_PORT: open(
    'none: it has no port',
    'Port of a worker alone for /health, /ready and /metrics; 0 takes a free one',
    wholeNumber(0, 65_535),
  ),
  WORKER_JOB_CONCURRENCY: fixed('16', 'Jobs of the queue being taken at once per worker', wholeNumber(1, 10_000)),
  SWEEP_INTERVAL: fixed('5', 'Seconds between two sweeps', number(0.05, 3600, ' seconds')),
  SWEEP_GRACE: fixed('10', 'Seconds overdue before sweep sends a delivery again', number(0.1, 3600, ' seconds')),
  POSTHORN_RATE_POINTS_PER_MINUTE: fixed(
    '600000',
    'Cost points that an API key may spend per minute; 0 sets no limit',
    wholeNumber(0, 1_000_000_000),
  ),
  POSTHORN_INTROSPECTION: fixed('true', 'Whether the schema can be asked for, which GraphiQL needs', trueOrFalse),
  POSTHORN_PERSISTED_OPERATIONS: open(
    'none: any operation is executed',
    'JSON file of the only operations that are executed, SHA-256 to document',
    anyText,
  ),
  POSTHORN_ALLOWED_ORIGINS: open(
    'none',
    'Sites whose pages may use the API from a browser, such as https://app.example.com, or *',
    text('origins joined by commas, such as https://app.example.com, or *', parseAllowedOrigins),
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: open(
    'none: nothing is traced',
    'OpenTelemetry collector, OTLP over HTTP, to which `/v1/traces` is added',
    url(['http', 'https']),
  ),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: open('none', 'The whole address for traces instead', url(['http', 'https'])),
  OTEL_EXPORTER_OTLP_HEADERS: open('none', 'Sent to the collector, `name=value,…`', exportHeaders),
  OTEL_SERVICE_NAME: fixed('posthorn', 'Name of the service in traces', anyText),
  OTEL_TRACES_SAMPLER_ARG: fixed('1', 'Share of the traces begun here that is recorded, 0 to 1', number(0, 1, '')),
  POSTHORN_STOP_DELAY: fixed(
    '0',
    'Seconds that a gateway asked to stop serves on, `/ready` saying no, until a load balancer has seen it',
    number(0, 60, ' seconds'),
  ),
  LOG_LEVEL: open(
    'warn; with DATABASE_URL info',
    'Least severe messages to log',
    text(`one of ${logLevels.join(', ')}`, (given) => (logLevels.includes(given) ? given : null)),
  ),
});

const secretNames: ReadonlySet<string> = new Set([
  'DATABASE_URL',
  'REDIS_URI_DURABLE',
  'REDIS_URI_VOLATILE',
  'POSTHORN_ADMIN_KEY',
  'AGENTA_AUTH_KEY',
  'POSTHORN_METRICS_TOKEN',
  'POSTHORN_ENCRYPTION_KEYS',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
  'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
  'OTEL_EXPORTER_OTLP_HEADERS',
]);

/** All settings, in the order of the README. */
export function describeSettings(): SettingRow[] {
  const row = z.object({ default: z.string(), meaning: z.string() });
  return Object.entries(settings.shape).map(([name, schema]) => {
    const { default: defaultWords, meaning } = row.parse(schema.meta());
    return { name, default: defaultWords, meaning };
  });
}

/** Reads the settings; an empty variable counts as absent. Throws ConfigError with every problem. */
export function loadConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = withoutEmpty(env);
  const parsed = settings.safeParse(given);
  const problems = [
    ...(parsed.error?.issues ?? []).map((issue) => sentenceOf(issue, given)),
    ...checkPresence(given),
    ...(parsed.success ? checkAmounts(parsed.data, given) : []),
  ];
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return configOf(parsed.data);
}

/** The settings as they were given and, in words, the defaults of the others. Of secrets it says only that they are set. */
export function describeGiven(env: Readonly<Record<string, string | undefined>>): GivenSettings {
  const given = withoutEmpty(env);
  const described: GivenSettings = { given: {}, defaults: {} };
  for (const { name, default: defaultWords } of describeSettings()) {
    const value = given[name];
    if (value === undefined) described.defaults[name] = defaultWords;
    else described.given[name] = secretNames.has(name) ? String(new Secret(value)) : value;
  }
  return described;
}

function withoutEmpty(env: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
}

function sentenceOf(issue: z.core.$ZodIssue, given: Readonly<Record<string, string | undefined>>): string {
  const name = String(issue.path[0]);
  const value = secretNames.has(name) ? '' : ` ${JSON.stringify(given[name])}`;
  return `${name}${value} must be ${issue.message}.`;
}

function configOf(given: z.output<typeof settings>): Config {
  return {
    version,
    ...settingsByStack(given),
    port: given.PORT,
    dataFolder: given.POSTHORN_DATA,
    databaseUrl: given.DATABASE_URL ?? null,
    redis: redisOf(given),
    ...credentialsOf(given),
    workerPort: given.WORKER_PORT ?? null,
    brand: given.POSTHORN_BRAND,
    attemptTimeoutMs: given.WEBHOOK_TIMEOUT * 1000,
    maxAttempts: given.WEBHOOK_MAX_RETRIES,
    retryScheduleSeconds: given.WEBHOOK_RETRY_SCHEDULE,
    webhookInFlightMax: given.WEBHOOK_MAX_IN_FLIGHT,
    disableAfterMs: given.WEBHOOK_DISABLE_AFTER * 1000,
    retentionDays: given.WEBHOOK_RETENTION_DAYS || null,
    inFlightMax: given.WORKER_MAX_IN_FLIGHT,
    jobConcurrency: given.WORKER_JOB_CONCURRENCY,
    sweepIntervalMs: given.SWEEP_INTERVAL * 1000,
    sweepGraceMs: given.SWEEP_GRACE * 1000,
    ratePointsPerMinute: given.POSTHORN_RATE_POINTS_PER_MINUTE || null,
    introspection: given.POSTHORN_INTROSPECTION,
    persistedOperations: given.POSTHORN_PERSISTED_OPERATIONS ?? null,
    allowedOrigins: given.POSTHORN_ALLOWED_ORIGINS ?? [],
    tracing: tracingSettingsOf(given),
    sendTraceparent: given.WEBHOOK_SEND_TRACEPARENT,
    stopDelayMs: given.POSTHORN_STOP_DELAY * 1000,
  };
}

function credentialsOf(given: z.output<typeof settings>): Pick<Config, 'adminKey' | 'metricsToken' | 'encryptionKeys'> {
  return {
    adminKey: given.POSTHORN_ADMIN_KEY ?? given.AGENTA_AUTH_KEY ?? null,
    metricsToken: given.POSTHORN_METRICS_TOKEN ?? null,
    encryptionKeys: given.POSTHORN_ENCRYPTION_KEYS ?? null,
  };
}

/** Settings whose default differs: the embedded stack is for trying out on one machine, the other is a service. */
function settingsByStack(
  given: z.output<typeof settings>,
): Pick<Config, 'host' | 'requireHttps' | 'allowedCidrs' | 'logLevel'> {
  const defaults =
    given.DATABASE_URL === undefined
      ? { host: '127.0.0.1', requireHttps: false, allowedCidrs: ['127.0.0.0/8', '::1/128'], logLevel: 'warn' }
      : { host: '0.0.0.0', requireHttps: true, allowedCidrs: [], logLevel: 'info' };
  return {
    host: given.HOST ?? defaults.host,
    requireHttps: given.WEBHOOK_REQUIRE_HTTPS ?? defaults.requireHttps,
    allowedCidrs: given.WEBHOOK_ALLOWED_CIDRS ?? defaults.allowedCidrs,
    logLevel: given.LOG_LEVEL ?? defaults.logLevel,
  };
}

function redisOf(given: z.output<typeof settings>): Config['redis'] {
  const { REDIS_URI_DURABLE: durableUrl, REDIS_URI_VOLATILE: volatileUrl } = given;
  return durableUrl === undefined || volatileUrl === undefined ? null : { durableUrl, volatileUrl };
}
