import { createHmac, timingSafeEqual } from 'node:crypto';
import * as fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { secretBytes, secretText, signatureHeaders } from '../../src/domain/signature.ts';

const anySecret = fc.uint8Array({ minLength: 24, maxLength: 64 });
const nowSeconds = Math.floor(Date.now() / 1000); // the outside verifier compares with its own clock
const content = {
  messageId: 'evt_01h455vb4pex5vsknk084sn02q',
  timestampSeconds: nowSeconds,
  body: '{"hello":"wörld"}',
};

const headersFor = (body: string, secrets: readonly Uint8Array[]) => ({
  'webhook-id': content.messageId,
  'webhook-timestamp': String(nowSeconds),
  ...signatureHeaders('STANDARD_WEBHOOKS', { ...content, body }, secrets, 'posthorn'),
});

/** What Stripe's documentation tells receivers to write by hand; the key is the secret's whole text. */
function verifies(header: string, body: string, secret: string): boolean {
  const parts = header.split(',').map((part) => part.split('='));
  const time = parts.find(([name]) => name === 't')?.[1] ?? '';
  const expected = createHmac('sha256', secret).update(`${time}.${body}`).digest();
  return parts.some(
    ([name, hex = '']) => name === 'v1' && hex.length === 64 && timingSafeEqual(Buffer.from(hex, 'hex'), expected),
  );
}

describe('STANDARD_WEBHOOKS', () => {
  test('the standardwebhooks package verifies any body with any secret', () => {
    fc.assert(
      fc.property(fc.json(), anySecret, (body, secret) => {
        const verified = new Webhook(secretText(secret)).verify(body, headersFor(body, [secret]));
        expect(verified).toEqual(JSON.parse(body));
      }),
    );
  });

  test('during a rotation either secret verifies, and a third does not', () => {
    fc.assert(
      fc.property(anySecret, anySecret, anySecret, (newer, older, foreign) => {
        fc.pre(Buffer.compare(newer, foreign) !== 0 && Buffer.compare(older, foreign) !== 0);
        const headers = headersFor(content.body, [newer, older]);
        for (const secret of [newer, older]) {
          expect(new Webhook(secretText(secret)).verify(content.body, headers)).toEqual({ hello: 'wörld' });
        }
        expect(() => new Webhook(secretText(foreign)).verify(content.body, headers)).toThrow('No matching signature');
      }),
    );
  });

  test('a body changed by one byte, another id and another time do not verify', () => {
    const secret = Buffer.alloc(32, 7);
    const webhook = new Webhook(secretText(secret));
    const headers = headersFor(content.body, [secret]);
    expect(() => webhook.verify(`${content.body} `, headers)).toThrow('No matching signature');
    expect(() => webhook.verify(content.body, { ...headers, 'webhook-id': 'evt_other' })).toThrow(
      'No matching signature',
    );
    expect(() => webhook.verify(content.body, { ...headers, 'webhook-timestamp': String(nowSeconds + 1) })).toThrow(
      'No matching signature',
    );
  });
});

describe('TIMESTAMPED_HEX', () => {
  test('a Stripe-like verifier accepts either secret and no other, under the brand’s header', () => {
    fc.assert(
      fc.property(fc.string(), anySecret, anySecret, anySecret, (body, newer, older, foreign) => {
        fc.pre(Buffer.compare(newer, foreign) !== 0 && Buffer.compare(older, foreign) !== 0);
        const headers = signatureHeaders('TIMESTAMPED_HEX', { ...content, body }, [newer, older], 'agenta');
        expect(Object.keys(headers)).toEqual(['x-agenta-signature']);
        const header = headers['x-agenta-signature'] ?? '';
        expect(header).toMatch(/^t=\d+,v1=[0-9a-f]{64},v1=[0-9a-f]{64}$/);
        expect(verifies(header, body, secretText(newer))).toBe(true);
        expect(verifies(header, body, secretText(older))).toBe(true);
        expect(verifies(header, body, secretText(foreign))).toBe(false);
        expect(verifies(header, `${body}x`, secretText(newer))).toBe(false);
      }),
    );
  });
});

test('a secret’s text gives back its bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), (bytes) => {
      expect([...secretBytes(secretText(bytes))]).toEqual([...bytes]);
    }),
  );
});

test.each(['', 'whsec_', 'whpk_abcd', 'c2VjcmV0'])('%j is refused as a secret, without repeating it', (text) => {
  expect(() => secretBytes(text)).toThrow(new RangeError('not a whsec_ signing secret'));
});
