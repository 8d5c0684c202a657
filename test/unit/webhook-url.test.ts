import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseCidrs } from '../../src/domain/address-policy.ts';
import { checkWebhookUrl, webhookUrlLengthMax } from '../../src/domain/webhook-url.ts';

const open = { requireHttps: false };

test.each([
  ['https://example.com/hook?a=1', 'https://example.com/hook?a=1'],
  ['http://example.com', 'http://example.com/'],
  ['HTTPS://EXAMPLE.com:443/a/../b', 'https://example.com/b'],
  ['https://example.com:8443/', 'https://example.com:8443/'],
  ['https://münchen.example/ä', 'https://xn--mnchen-3ya.example/%C3%A4'],
  ['https://8.8.8.8/', 'https://8.8.8.8/'],
  ['https://[2606:4700:4700:0:0:0:0:1111]/', 'https://[2606:4700:4700::1111]/'],
])('%s is taken, normalised', (text, url) => {
  expect(checkWebhookUrl(text, open)).toEqual({ kind: 'ok', url });
});

test.each([
  ['', 'INVALID_URL'],
  ['example.com/hook', 'INVALID_URL'],
  ['/hook', 'INVALID_URL'],
  ['//example.com', 'INVALID_URL'],
  ['ftp://example.com', 'INVALID_URL'],
  ['javascript:alert(1)', 'INVALID_URL'],
  ['http:example.com', 'INVALID_URL'],
  ['http:///example.com', 'INVALID_URL'],
  ['https://', 'INVALID_URL'],
  ['https://exa mple.com', 'INVALID_URL'],
  [' https://example.com', 'INVALID_URL'],
  ['https://example.com/a\nb', 'INVALID_URL'],
  ['https://example.com\\@127.0.0.1/', 'INVALID_URL'],
  ['https://example.com:70000/', 'INVALID_URL'],
  ['https://example.com:0/', 'INVALID_PORT'],
  ['https://user@example.com/', 'CREDENTIALS_IN_URL'],
  ['https://:secret@example.com/', 'CREDENTIALS_IN_URL'],
  ['https://example.com/#', 'FRAGMENT_IN_URL'],
  ['https://example.com/#part', 'FRAGMENT_IN_URL'],
])('%j is refused as %s', (text, code) => {
  expect(checkWebhookUrl(text, open)).toMatchObject({ kind: 'refused', code });
});

test.each([
  'http://127.0.0.1/',
  'http://127.1/',
  'http://0x7f.0.0.1/',
  'http://0177.0.0.1/',
  'http://2130706433/',
  'http://127.0.0.1./',
  'http://１２７.0.0.1/',
  'http://%31%32%37.0.0.1/',
  'http://0/',
  'http://[::1]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:7f00:1]/',
  'http://[64:ff9b::10.0.0.1]/',
  'http://10.0.0.1:8080/',
  'http://169.254.169.254/latest/meta-data',
  'http://localhost/',
  'http://LOCALHOST./',
  'http://api.localhost/',
  'http://localhost../',
])('%s, which leads inside, is refused', (text) => {
  expect(checkWebhookUrl(text, open)).toMatchObject({ kind: 'refused', code: 'BLOCKED_ADDRESS' });
});

test('no spelling of a loopback address gets through', () => {
  const spelling = fc
    .constantFrom(10, 8, 16)
    .map((base) => (byte: number) => ({ 10: '', 8: '0', 16: '0x' })[base] + byte.toString(base));
  const part = fc.tuple(fc.nat(255), spelling).map(([byte, spell]) => spell(byte));
  fc.assert(
    fc.property(spelling, part, part, part, (spell, b, c, d) => {
      expect(checkWebhookUrl(`http://${[spell(127), b, c, d].join('.')}/`, open)).toMatchObject({
        code: 'BLOCKED_ADDRESS',
      });
    }),
  );
});

test('a URL of 2048 characters is taken, a longer one and one that normalises to more are refused', () => {
  const longest = 'https://example.com/'.padEnd(webhookUrlLengthMax, 'a');
  expect(checkWebhookUrl(longest, open)).toMatchObject({ kind: 'ok' });
  expect(checkWebhookUrl(`${longest}a`, open)).toMatchObject({ code: 'URL_TOO_LONG' });
  expect(checkWebhookUrl(`https://example.com/${'ä'.repeat(1000)}`, open)).toMatchObject({ code: 'URL_TOO_LONG' });
});

test('plain http is refused exactly when https is required', () => {
  expect(checkWebhookUrl('http://example.com/', { requireHttps: true })).toMatchObject({ code: 'HTTPS_REQUIRED' });
  expect(checkWebhookUrl('https://example.com/', { requireHttps: true })).toMatchObject({ kind: 'ok' });
});

test('an allowed loopback range opens localhost and its addresses, and nothing else inside', () => {
  const policy = { requireHttps: false, allowedCidrs: parseCidrs(['127.0.0.0/8']) };
  const kinds = ['http://localhost:3000/', 'http://127.0.0.1/', 'http://app.localhost/'].map(
    (text) => checkWebhookUrl(text, policy).kind,
  );
  expect(kinds).toEqual(['ok', 'ok', 'ok']);
  expect(checkWebhookUrl('http://192.168.0.1/', policy)).toMatchObject({ code: 'BLOCKED_ADDRESS' });
});

const anyText = fc.array(fc.nat(0x10_ff_ff)).map((points) => String.fromCodePoint(...points));

test('whatever is typed, the answer is a value, and what is taken is taken again unchanged', () => {
  const text = fc.oneof(
    fc.string(),
    anyText.map((rest) => `https://${rest}`),
    fc
      .tuple(fc.constantFrom('example.com', 'a.b', '127.0.0.1', '[::1]'), fc.string())
      .map(([host, rest]) => `http://${host}/${rest}`),
  );
  fc.assert(
    fc.property(text, (typed) => {
      const check = checkWebhookUrl(typed, open);
      expect(check.kind === 'ok' ? checkWebhookUrl(check.url, open) : check).toEqual(check);
    }),
  );
});
