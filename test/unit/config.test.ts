import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError, describeGiven, describeSettings, loadConfig } from '../../src/config.ts';
import { parseEncryptionKeys } from '../../src/encryption-key.ts';

const production = {
  DATABASE_URL: 'postgresql://posthorn:geheim@db.example/posthorn',
  POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
};

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

describe('without any setting', () => {
  test('it is embedded, on loopback, and lets webhooks reach loopback over http', () => {
    expect(loadConfig({})).toMatchObject({
      host: '127.0.0.1',
      port: 4000,
      dataFolder: '.posthorn',
      databaseUrl: null,
      redis: null,
      adminKey: null,
      encryptionKeys: null,
      brand: 'posthorn',
      attemptTimeoutMs: 10_000,
      maxAttempts: 6,
      retryScheduleSeconds: [60, 300, 900, 3600, 14_400],
      requireHttps: false,
      allowedCidrs: ['127.0.0.0/8', '::1/128'],
      webhookInFlightMax: 64,
      disableAfterMs: 432_000_000,
      retentionDays: 30,
      inFlightMax: 512,
      jobConcurrency: 16,
      sweepIntervalMs: 5_000,
      sweepGraceMs: 10_000,
      logLevel: 'warn',
      ratePointsPerMinute: 600_000,
      introspection: true,
      persistedOperations: null,
      allowedOrigins: [],
    });
  });

  test('no points per minute are no limit, and origins are a list or all', () => {
    expect(loadConfig({ POSTHORN_RATE_POINTS_PER_MINUTE: '0' }).ratePointsPerMinute).toBeNull();
    expect(loadConfig({ POSTHORN_INTROSPECTION: 'false' }).introspection).toBe(false);
    expect(loadConfig({ POSTHORN_ALLOWED_ORIGINS: '*' }).allowedOrigins).toBe('*');
    const listed = 'https://app.example.com, http://localhost:3000';
    expect(loadConfig({ POSTHORN_ALLOWED_ORIGINS: listed }).allowedOrigins).toEqual(listed.split(', '));
  });

  test.each([
    'app.example.com',
    'https://app.example.com/',
    'https://App.example.com',
    'https://a.com:443',
    'null',
    '*,*',
  ])('what no browser would send as an origin is refused: %s', (origin) => {
    expect(problemsOf({ POSTHORN_ALLOWED_ORIGINS: origin })).toEqual([
      `POSTHORN_ALLOWED_ORIGINS "${origin}" must be origins joined by commas, such as https://app.example.com, or *.`,
    ]);
  });

  test('an empty variable counts as absent', () => {
    expect(loadConfig({ PORT: '', DATABASE_URL: '' })).toEqual(loadConfig({}));
  });
});

describe('with DATABASE_URL', () => {
  test('webhooks must be https and reach public addresses only, and more is logged', () => {
    expect(loadConfig(production)).toMatchObject({
      host: '0.0.0.0',
      requireHttps: true,
      allowedCidrs: [],
      redis: null,
    });
  });

  test('a missing encryption key is a problem that says how to make one', () => {
    expect(problemsOf({ DATABASE_URL: production.DATABASE_URL })).toEqual([
      'POSTHORN_ENCRYPTION_KEYS is required with DATABASE_URL: make one with `echo "k1:$(openssl rand -base64 32)"`.',
    ]);
  });

  test.each(['REDIS_URI_DURABLE', 'REDIS_URI_VOLATILE'])('%s alone is refused', (name) => {
    const problems = problemsOf({ ...production, [name]: 'redis://127.0.0.1' });
    expect(problems).toEqual([expect.stringMatching(new RegExp(`^${name} needs REDIS_URI_(DURABLE|VOLATILE) too: `))]);
  });
});

test('Redis without DATABASE_URL is refused', () => {
  const problems = problemsOf({ REDIS_URI_DURABLE: 'redis://a', REDIS_URI_VOLATILE: 'redis://b' });
  expect(problems).toEqual(['REDIS_URI_DURABLE needs DATABASE_URL too: the embedded default uses no Redis.']);
});

test('every problem is reported at once, with variable, value and what is allowed', () => {
  const env = { PORT: '70000', WEBHOOK_TIMEOUT: 'soon', WEBHOOK_REQUIRE_HTTPS: 'yes', WEBHOOK_RETRY_SCHEDULE: '60,-1' };
  expect(
    problemsOf({ ...env, WEBHOOK_ALLOWED_CIDRS: '10.0.0.0/99', LOG_LEVEL: 'loud', POSTHORN_BRAND: 'A b' }),
  ).toEqual([
    'PORT "70000" must be a whole number from 0 to 65535.',
    'POSTHORN_BRAND "A b" must be lower-case letters, digits and hyphens.',
    'WEBHOOK_TIMEOUT "soon" must be a number from 0.01 to 300 seconds.',
    'WEBHOOK_RETRY_SCHEDULE "60,-1" must be up to 20 waits in seconds joined by commas, each at most 604800.',
    'WEBHOOK_REQUIRE_HTTPS "yes" must be true or false.',
    'WEBHOOK_ALLOWED_CIDRS "10.0.0.0/99" must be IP address ranges joined by commas, such as 10.0.0.0/8.',
    'LOG_LEVEL "loud" must be one of fatal, error, warn, info, debug, trace, silent.',
  ]);
});

test.each(['0.0.0.0', '::1', 'localhost', 'gateway-1.example.com', 'a'])('HOST may be %j', (host) => {
  expect(loadConfig({ HOST: host }).host).toBe(host);
});

test.each(['not a host', 'http://localhost', '127.0.0.1:4000', '[::1]', '256.0.0.1', '-a', 'a..b', 'a-', '127.1'])(
  'HOST %j is refused',
  (host) => {
    expect(problemsOf({ HOST: host })).toEqual([`HOST ${JSON.stringify(host)} must be an IP address or a host name.`]);
  },
);

test('a wrong setting does not hide what two settings get wrong together', () => {
  expect(problemsOf({ PORT: 'x', REDIS_URI_DURABLE: 'http://a' })).toHaveLength(4);
});

test('fractions of a second are taken', () => {
  const config = loadConfig({ WEBHOOK_TIMEOUT: '0.5', WEBHOOK_RETRY_SCHEDULE: '0.1, 0.2' });
  expect(config).toMatchObject({ attemptTimeoutMs: 500, retryScheduleSeconds: [0.1, 0.2] });
});

test.each(['POSTHORN_ADMIN_KEY', 'AGENTA_AUTH_KEY'])('%s sets the admin key', (name) => {
  expect(loadConfig({ [name]: 'geheim' }).adminKey?.reveal()).toBe('geheim');
});

test.each([' geheim', 'geheim ', 'gehe\nim', 'gehëim', 'g'.repeat(1_025)])(
  'an admin key that no header can carry is refused: %j',
  (key) => {
    const [problem, ...others] = problemsOf({ POSTHORN_ADMIN_KEY: key });
    expect(others).toEqual([]);
    expect(problem).toContain('POSTHORN_ADMIN_KEY must be at most 1024 visible ASCII characters');
    expect(problem).not.toContain('geh');
  },
);

test('two admin keys that differ are refused, and neither is shown', () => {
  const [problem, ...others] = problemsOf({ POSTHORN_ADMIN_KEY: 'geheim1', AGENTA_AUTH_KEY: 'geheim2' });
  expect(others).toEqual([]);
  expect(problem).toContain('differ');
  expect(problem).not.toContain('geheim');
});

test('an admin key that no header can carry is refused, and not shown', () => {
  expect(problemsOf({ POSTHORN_ADMIN_KEY: 'geheim\n' })).toEqual([
    'POSTHORN_ADMIN_KEY must be at most 1024 visible ASCII characters without blanks.',
  ]);
});

test.each(['redis://a/first', 'redis://a/1/2', 'http://a'])('REDIS_URI_VOLATILE %s is refused', (url) => {
  expect(problemsOf({ ...production, REDIS_URI_DURABLE: 'rediss://a/2', REDIS_URI_VOLATILE: url })).toEqual([
    'REDIS_URI_VOLATILE must be a URL redis://… or rediss://…, with nothing after the port but the number of a database.',
  ]);
});

test('a webhook cannot be given more room than its worker has', () => {
  expect(problemsOf({ WEBHOOK_MAX_IN_FLIGHT: '200', WORKER_MAX_IN_FLIGHT: '100' })).toEqual([
    'WEBHOOK_MAX_IN_FLIGHT "200" must be at most WORKER_MAX_IN_FLIGHT "100": the worker has no more room.',
  ]);
  expect(problemsOf({ WEBHOOK_MAX_IN_FLIGHT: '100', WORKER_MAX_IN_FLIGHT: '100' })).toEqual([]);
  // The default of the one was not chosen against the other.
  expect(problemsOf({ WORKER_MAX_IN_FLIGHT: '10' })).toEqual([]);
});

test('a webhook is not disabled before one attempt can have ended', () => {
  expect(problemsOf({ WEBHOOK_DISABLE_AFTER: '10' })).toEqual([
    'WEBHOOK_DISABLE_AFTER 10 must be more than WEBHOOK_TIMEOUT 10: one attempt that times out would disable its webhook.',
  ]);
  expect(problemsOf({ WEBHOOK_DISABLE_AFTER: '10', WEBHOOK_TIMEOUT: '9.9' })).toEqual([]);
});

test('every setting is described once, as given or by default, and secrets are not', () => {
  const env = { ...production, PORT: '5000', LOG_LEVEL: '', POSTHORN_ADMIN_KEY: 'geheim', UNRELATED: 'geheim' };
  const { given, defaults } = describeGiven(env);
  expect(given).toEqual({
    PORT: '5000',
    DATABASE_URL: '[secret]',
    POSTHORN_ENCRYPTION_KEYS: '[secret]',
    POSTHORN_ADMIN_KEY: '[secret]',
  });
  expect(defaults).toMatchObject({ WEBHOOK_TIMEOUT: '10', LOG_LEVEL: 'warn; with DATABASE_URL info' });
  const names = describeSettings().map(({ name }) => name);
  expect([...Object.keys(given), ...Object.keys(defaults)].sort()).toEqual(names.sort());
});

test('no way of printing a config shows a secret', () => {
  const redis = { REDIS_URI_DURABLE: 'redis://:geheim@a', REDIS_URI_VOLATILE: 'redis://:geheim@b' };
  const config = loadConfig({ ...production, ...redis, POSTHORN_ADMIN_KEY: 'geheim' });
  const printed = [
    inspect(config, { depth: 10, showHidden: true }),
    JSON.stringify(config),
    String(config.databaseUrl),
  ];
  for (const text of printed) {
    expect(text).toContain('[secret]');
    expect(text).not.toContain('geheim');
    expect(text).not.toContain(production.POSTHORN_ENCRYPTION_KEYS.slice(3));
  }
});

test('a problem with a secret does not show it', () => {
  const env = { DATABASE_URL: 'mysql://posthorn:geheim@db', POSTHORN_ENCRYPTION_KEYS: 'k1:geheim' };
  expect(problemsOf(env)).toEqual([
    'DATABASE_URL must be a URL postgres://… or postgresql://….',
    'POSTHORN_ENCRYPTION_KEYS must be `id:key` pairs joined by commas, each id once, each key 32 bytes in base64.',
  ]);
});

test('encryption keys are read in order, and ids may not repeat', () => {
  const [first, second] = [randomBytes(32), randomBytes(32)];
  const text = `new:${first.toString('base64')},old:${second.toString('base64')}`;
  expect(parseEncryptionKeys(text)).toEqual([
    { id: 'new', key: new Uint8Array(first) },
    { id: 'old', key: new Uint8Array(second) },
  ]);
  expect(parseEncryptionKeys(text.replace('old', 'new'))).toBeNull();
});

test('every setting has a default and a meaning for the README', () => {
  const rows = describeSettings();
  expect(rows.length).toBeGreaterThanOrEqual(20);
  expect(rows[0]).toEqual({ name: 'PORT', default: '4000', meaning: 'Port of the gateway; 0 takes a free one' });
  expect(rows.filter((row) => row.default === '' || row.meaning === '')).toEqual([]);
});
