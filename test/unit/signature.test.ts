import { createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';
import * as fc from 'fast-check';
import { Webhook } from 'standardwebhooks';
import { describe, expect, test } from 'vitest';
import { parsePrivateKey, privateKeyText, publicKeyText } from '../../src/domain/asymmetric-key.ts';
import { isSignatureChoice, secretBytes, secretText, signatureHeaders } from '../../src/domain/signature.ts';

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
  ...signatureHeaders('STANDARD_WEBHOOKS', { ...content, body }, { secrets, asymmetricKeys: [] }, 'posthorn'),
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
        const headers = signatureHeaders(
          'TIMESTAMPED_HEX',
          { ...content, body },
          { secrets: [newer, older], asymmetricKeys: [] },
          'agenta',
        );
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

const anySeed = fc.uint8Array({ minLength: 32, maxLength: 32 });

const publicKeyOf = (seed: Uint8Array): string => publicKeyText(parsePrivateKey(privateKeyText(seed)));

/** Whether one of the header's `v1a` entries is the public key's, as a receiver finds out that has only its text. */
function verifiesAsymmetrically(header: string, body: string, publicKey: string): boolean {
  const x = Buffer.from(publicKey.replace(/^whpk_/, ''), 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const signed = Buffer.from(`${content.messageId}.${content.timestampSeconds}.${body}`);
  return header.split(' ').some((entry) => {
    const [version, signature = ''] = entry.split(',');
    return version === 'v1a' && verify(null, signed, key, Buffer.from(signature, 'base64'));
  });
}

function asymmetricHeader(body: string, secrets: readonly Uint8Array[], seeds: readonly Uint8Array[]): string {
  const asymmetricKeys = seeds.map((seed) => parsePrivateKey(privateKeyText(seed)));
  const headers = signatureHeaders('STANDARD_WEBHOOKS', { ...content, body }, { secrets, asymmetricKeys }, 'posthorn');
  expect(Object.keys(headers)).toEqual(['webhook-signature']);
  return headers['webhook-signature'] ?? '';
}

describe('STANDARD_WEBHOOKS with ed25519 keys', () => {
  test('any body verifies with the public key of every private key, not with another, and not once it is changed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), anySeed, anySeed, anySeed, (body, newer, older, foreign) => {
        fc.pre(Buffer.compare(newer, foreign) !== 0 && Buffer.compare(older, foreign) !== 0);
        const header = asymmetricHeader(body, [Buffer.alloc(32, 7)], [newer, older]);
        expect(header).toMatch(/^v1,[A-Za-z0-9+/]{43}= v1a,[A-Za-z0-9+/]{86}== v1a,[A-Za-z0-9+/]{86}==$/);
        for (const seed of [newer, older]) {
          expect(verifiesAsymmetrically(header, body, publicKeyOf(seed))).toBe(true);
          expect(verifiesAsymmetrically(header, `${body}x`, publicKeyOf(seed))).toBe(false);
        }
        expect(verifiesAsymmetrically(header, body, publicKeyOf(foreign))).toBe(false);
      }),
      { numRuns: 20 }, // each signs and verifies some ten times
    );
  });

  test('the standardwebhooks package still verifies the symmetric signatures beside them', () => {
    fc.assert(
      fc.property(fc.json(), anySecret, anySeed, (body, secret, seed) => {
        const headers = { ...headersFor(body, []), 'webhook-signature': asymmetricHeader(body, [secret], [seed]) };
        expect(new Webhook(secretText(secret)).verify(body, headers)).toEqual(JSON.parse(body));
      }),
      { numRuns: 20 },
    );
  });

  test('a private key’s text is that of its seed, and its public key is that of RFC 8032', () => {
    const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex');
    const publicKey = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex');
    expect(privateKeyText(seed)).toBe(`whsk_${seed.toString('base64')}`);
    expect(publicKeyOf(seed)).toBe(`whpk_${publicKey.toString('base64')}`);
  });

  test.each(['', 'whsk_', 'whsec_c2VjcmV0', `whsk_${Buffer.alloc(64).toString('base64')}`])(
    '%j is refused as a private key, without repeating it',
    (text) => {
      expect(() => parsePrivateKey(text)).toThrow(new RangeError('not a whsk_ private key'));
    },
  );
});

test('TIMESTAMPED_HEX has no place for ed25519 signatures, and is no choice beside them', () => {
  const keys = { secrets: [Buffer.alloc(32, 7)], asymmetricKeys: [parsePrivateKey(privateKeyText(Buffer.alloc(32)))] };
  const headers = signatureHeaders('TIMESTAMPED_HEX', content, keys, 'posthorn');
  expect(headers).toEqual(
    signatureHeaders('TIMESTAMPED_HEX', content, { secrets: keys.secrets, asymmetricKeys: [] }, 'posthorn'),
  );
  const choices = (['STANDARD_WEBHOOKS', 'TIMESTAMPED_HEX'] as const).flatMap((signatureStyle) =>
    [false, true].map((signAsymmetrically) => isSignatureChoice({ signatureStyle, signAsymmetrically })),
  );
  expect(choices).toEqual([true, true, true, false]);
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
