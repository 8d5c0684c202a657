import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { describeSettings, loadConfig } from '../../src/config.ts';

interface Service {
  image: string;
  command?: string[];
  environment?: Record<string, string | number>;
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  volumes?: string[];
}

let compose: { services: Record<string, Service>; volumes: Record<string, null> };

beforeAll(async () => {
  const text = await readFile(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
  compose = parse(text, { merge: true, uniqueKeys: true, version: '1.2' });
});

/** What Compose makes of `${NAME:-default}` and `${NAME:?message}`, with nothing set but the encryption key. */
function interpolate(value: string | number): string {
  const key = `k1:${Buffer.alloc(32).toString('base64')}`;
  return String(value)
    .replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')
    .replaceAll(/\$\{POSTHORN_ENCRYPTION_KEYS:\?[^}]*\}/g, key);
}

/** What can be waited for: a service's health, or the end of one that has none. */
function conditionOf(service: Service | undefined): string | null {
  if (service === undefined) return null;
  return service.healthcheck === undefined ? 'service_completed_successfully' : 'service_healthy';
}

const posthornServices = ['migrate', 'gateway', 'worker'];

describe('docker-compose.yml', () => {
  test('has the services of the production layout', () => {
    expect(Object.keys(compose.services).sort()).toEqual([
      'gateway',
      'install',
      'migrate',
      'postgres',
      'redis-durable',
      'redis-volatile',
      'worker',
    ]);
  });

  test.each(posthornServices)('gives %s only settings that exist, and they make a usable configuration', (name) => {
    const environment = compose.services[name]?.environment ?? {};
    const known = new Set(describeSettings().map((setting) => setting.name));
    expect(Object.keys(environment).filter((setting) => !known.has(setting))).toEqual([]);
    const values = Object.entries(environment).map(([setting, value]) => [setting, interpolate(value)]);
    const config = loadConfig(Object.fromEntries(values));
    expect(config.databaseUrl?.reveal()).toBe('postgresql://posthorn:posthorn@postgres:5432/posthorn');
    expect(config.redis?.durableUrl.reveal()).toBe('redis://redis-durable:6379');
    expect(config.redis?.volatileUrl.reveal()).toBe('redis://redis-volatile:6379');
    expect(config.requireHttps).toBe(true);
    expect(config.allowedCidrs).toEqual([]);
  });

  test.each(posthornServices)('runs %s by the command of that name', (name) => {
    const [node, ...rest] = compose.services[name]?.command ?? [];
    expect([node, ...rest.slice(-2)]).toEqual(['node', 'src/main.ts', name]);
    for (const option of rest.slice(0, -2)) expect(option).toMatch(/^--max-semi-space-size=\d+$/);
  });

  test('keeps the queue in a Redis that appends to disk and evicts nothing', () => {
    const command = compose.services['redis-durable']?.command?.join(' ');
    expect(command).toContain('--appendonly yes');
    expect(command).toContain('--maxmemory-policy noeviction');
    expect(compose.services['redis-durable']?.volumes).toEqual(['redis-durable:/data']);
  });

  test('starts nothing before what it needs: each dependency exists and can meet its condition', () => {
    const unmet = Object.entries(compose.services).flatMap(([name, service]) =>
      Object.entries(service.depends_on ?? {})
        .filter(([needed, { condition }]) => condition !== conditionOf(compose.services[needed]))
        .map(([needed, { condition }]) => `${name} waits for ${needed}: ${condition}`),
    );
    expect(unmet).toEqual([]);
    expect(Object.keys(compose.services['worker']?.depends_on ?? {})).toContain('migrate');
    expect(Object.keys(compose.services['migrate']?.depends_on ?? {})).toContain('install');
  });

  test('declares every named volume that a service mounts, and no other', () => {
    const mounted = Object.values(compose.services)
      .flatMap((service) => service.volumes ?? [])
      .map((volume) => volume.split(':')[0] ?? '')
      .filter((source) => !source.startsWith('.'));
    expect([...new Set(mounted)].sort()).toEqual(Object.keys(compose.volumes).sort());
  });
});
