import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ConfigError, describeGiven, loadConfig } from '../../src/config.ts';
import { parseExportHeaders } from '../../src/tracing/tracing-settings.ts';

function tracesUrlOf(env: Record<string, string>): string | undefined {
  return loadConfig(env).tracing?.tracesUrl.reveal();
}

describe('the settings of traces', () => {
  test('are off when no endpoint is set, whatever else is', () => {
    expect(loadConfig({ OTEL_SERVICE_NAME: 'a', OTEL_EXPORTER_OTLP_HEADERS: 'b=c' }).tracing).toBeNull();
    expect(loadConfig({}).sendTraceparent).toBe(false);
  });

  test.each([
    ['http://collector:4318', 'http://collector:4318/v1/traces'],
    ['http://collector:4318/', 'http://collector:4318/v1/traces'],
    ['https://collector/otlp/?tenant=a', 'https://collector/otlp/v1/traces?tenant=a'],
  ])('put the path of traces behind the endpoint %s', (endpoint, tracesUrl) => {
    expect(tracesUrlOf({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })).toBe(tracesUrl);
  });

  test('take the endpoint of traces as it is, before the general one', () => {
    const endpoints = {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a',
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://b/traces',
    };
    expect(tracesUrlOf(endpoints)).toBe('http://b/traces');
  });

  test('record every trace under the name posthorn unless told otherwise', () => {
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://a' };
    expect(loadConfig(endpoint).tracing).toMatchObject({ serviceName: 'posthorn', sampledShare: 1 });
    const told = { ...endpoint, OTEL_SERVICE_NAME: 'hooks', OTEL_TRACES_SAMPLER_ARG: '0.25' };
    expect(loadConfig(told).tracing).toMatchObject({ serviceName: 'hooks', sampledShare: 0.25 });
  });

  test('keep headers and endpoints, which may hold credentials, out of logs and errors', () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://user:geheim@collector',
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20geheim',
    };
    const { tracing } = loadConfig(env);
    expect(tracing?.headers.reveal()).toEqual({ authorization: 'Bearer geheim' });
    for (const shown of [JSON.stringify(tracing), inspect(tracing, { depth: 9 }), JSON.stringify(describeGiven(env))]) {
      expect(shown).not.toContain('geheim');
    }
    const bad = { OTEL_EXPORTER_OTLP_ENDPOINT: 'ftp://geheim', OTEL_EXPORTER_OTLP_HEADERS: 'geheim' };
    expect(() => loadConfig(bad)).toThrow(
      new ConfigError([
        'OTEL_EXPORTER_OTLP_ENDPOINT must be a URL http://… or https://….',
        'OTEL_EXPORTER_OTLP_HEADERS must be `name=value` pairs joined by commas, values percent-encoded.',
      ]),
    );
  });
});

test.each([
  ['a=b', { a: 'b' }],
  [' a = b , c=d%2Ce=f ', { a: 'b', c: 'd,e=f' }],
  ['a=', { a: '' }],
])('export headers are read from %j', (given, headers) => {
  expect(parseExportHeaders(given)).toEqual(headers);
});

test.each(['a', '=b', 'a b=c', 'a=%', 'a=b,,c=d', 'a=%0d%0ab: c', 'ä=b'])('%j are no export headers', (given) => {
  expect(parseExportHeaders(given)).toBeNull();
});
