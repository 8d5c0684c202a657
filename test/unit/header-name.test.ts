import { expect, test } from 'vitest';
import { isHeaderName, isReservedHeaderName } from '../../src/domain/header-name.ts';

test.each([
  'Content-Type',
  'content-encoding',
  'Date',
  'accept-encoding',
  'expect',
  'te',
  'Traceparent',
  'tracestate',
  'trailer',
  'upgrade',
  'keep-alive',
  'Proxy-Authorization',
  'proxy-connection',
  'webhook-id',
  'x-posthorn-event',
  'X-Acme-Signature',
  'x-signature',
])('%s is reserved', (name) => {
  expect(isReservedHeaderName(name)).toBe(true);
});

test.each(['authorization', 'x-api-key', 'x-signature-key', 'x-region', 'accept', 'update'])(
  '%s is free for webhooks',
  (name) => {
    expect(isHeaderName(name)).toBe(true);
    expect(isReservedHeaderName(name)).toBe(false);
  },
);

test.each(['', 'a b', 'ä', 'a:', 'x'.repeat(257)])('%j names no header', (name) => {
  expect(isHeaderName(name)).toBe(false);
});
