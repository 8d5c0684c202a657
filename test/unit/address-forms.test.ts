import { expect, test } from 'vitest';
import { checkWebhookUrl } from '../../src/domain/webhook-url.ts';
import { type AddressForm, addressForms, urlOf } from '../support/address-forms.ts';

function formsOf(isWanted: (form: AddressForm) => boolean): [url: string, code: string][] {
  return addressForms.filter(isWanted).map((form) => [urlOf(form, 8080), form.code]);
}

test.each(formsOf(({ code }) => code !== 'NAME'))('%j is refused as %s', (url, code) => {
  expect(checkWebhookUrl(url, { requireHttps: false })).toMatchObject({ kind: 'refused', code });
});

test.each(formsOf(({ code }) => code === 'NAME'))('%j is left to what its name resolves to', (url) => {
  expect(checkWebhookUrl(url, { requireHttps: false })).toMatchObject({ kind: 'ok' });
});

test('every form is there once, and all the ways to refuse one are met', () => {
  expect(new Set(addressForms.map(({ url }) => url)).size).toBe(addressForms.length);
  expect(new Set(addressForms.map(({ code }) => code))).toEqual(
    new Set(['BLOCKED_ADDRESS', 'INVALID_URL', 'CREDENTIALS_IN_URL', 'FRAGMENT_IN_URL', 'INVALID_PORT', 'NAME']),
  );
});
