import { describe, expect, test } from 'vitest';
import { createSecretBox } from '../../src/store/secret-box.ts';
import {
  changedWebhookHeaders,
  encryptedWebhookHeaders,
  maskedWebhookHeaders,
  webhookHeaders,
} from '../../src/store/webhook-headers.ts';

const secretBox = createSecretBox([{ id: 'test', key: new Uint8Array(32).fill(7) }]);

function stored(headers: { name: string; value: string }[]) {
  return { headers: encryptedWebhookHeaders(secretBox, headers) };
}

describe('webhook headers', () => {
  test('are stored encrypted and read back in order', () => {
    const headers = [
      { name: 'x-team', value: 'platform' },
      { name: 'authorization', value: 'Bearer abcdefgh' },
    ];
    const row = stored(headers);
    expect(JSON.stringify(row)).not.toMatch(/platform|Bearer/);
    expect(webhookHeaders(secretBox, row)).toEqual(headers);
  });

  test.each([
    ['Authorization', 'Bearer 1234567890', '••••7890'],
    ['cookie', 'session=abcd', '••••abcd'],
    ['X-API-Key', '123456789', '••••6789'],
    ['x-access-TOKEN', '12345678', '••••'],
    ['client-secret', 'short', '••••'],
    ['x-password', 'hunter2hunter2', '••••ter2'],
    ['x-hub-signature', 'sha256=0123456789', '••••6789'],
    ['x-team', 'platform-team', 'platform-team'],
    ['x-cookie-policy', 'strict-policy', 'strict-policy'],
  ])('a %s of %s is shown as %s', (name, value, shown) => {
    expect(maskedWebhookHeaders(secretBox, stored([{ name, value }]))).toEqual([{ name, value: shown }]);
  });

  test('a masked value that comes back as it was shown keeps the value behind it', () => {
    const row = stored([
      { name: 'Authorization', value: 'Bearer 1234567890' },
      { name: 'x-team', value: 'platform' },
    ]);
    const changed = changedWebhookHeaders(secretBox, row, [
      { name: 'authorization', value: '••••7890' },
      { name: 'x-team', value: 'payments' },
    ]);
    expect(webhookHeaders(secretBox, { headers: changed })).toEqual([
      { name: 'authorization', value: 'Bearer 1234567890' },
      { name: 'x-team', value: 'payments' },
    ]);
  });

  test('a mask does not fetch the value of another header', () => {
    const row = stored([{ name: 'authorization', value: 'Bearer 1234567890' }]);
    const changed = changedWebhookHeaders(secretBox, row, [{ name: 'x-shown-to-all', value: '••••7890' }]);
    expect(webhookHeaders(secretBox, { headers: changed })).toEqual([{ name: 'x-shown-to-all', value: '••••7890' }]);
  });

  test('a column that holds something else is an error', () => {
    expect(() => webhookHeaders(secretBox, { headers: { authorization: 'x' } })).toThrow('not a list of headers');
  });
});
