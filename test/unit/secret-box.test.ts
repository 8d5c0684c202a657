import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSecretBox } from '../../src/store/secret-box.ts';

const oldKey = { id: '2024', key: new Uint8Array(32).fill(1) };
const newKey = { id: '2025', key: new Uint8Array(32).fill(2) };
const base64urlAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const refusal = 'a ciphertext cannot be decrypted: its key is not configured, or it was altered';

describe('secret box', () => {
  test('gives back any text it encrypted, also when another box with the same key decrypts', () => {
    const box = createSecretBox([newKey]);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const ciphertext = box.encrypt(text);
        expect(box.decrypt(ciphertext)).toBe(text);
        expect(createSecretBox([newKey]).decrypt(ciphertext)).toBe(text);
      }),
    );
  });

  test('the same text never has the same ciphertext', () => {
    const box = createSecretBox([newKey]);
    const ciphertexts = Array.from({ length: 1_000 }, () => box.encrypt('whsec_same'));
    expect(new Set(ciphertexts).size).toBe(1_000);
  });

  test('a ciphertext names its version and its key', () => {
    expect(createSecretBox([newKey, oldKey]).encrypt('text')).toMatch(/^v1\.2025\.[\w-]{43}$/);
  });

  test('the first key encrypts and the others still decrypt, so that keys can be rotated', () => {
    const written = createSecretBox([oldKey]).encrypt('before the rotation');
    const box = createSecretBox([newKey, oldKey]);
    expect(box.decrypt(written)).toBe('before the rotation');
    expect(box.encrypt('after')).toContain('.2025.');
  });

  test('a key that was taken away decrypts nothing', () => {
    const written = createSecretBox([oldKey]).encrypt('text');
    expect(() => createSecretBox([newKey]).decrypt(written)).toThrow(refusal);
  });

  test('a ciphertext with any one character changed, removed or doubled is refused, even right after the true one was read', () => {
    const box = createSecretBox([oldKey, newKey]);
    const ciphertext = box.encrypt('whsec_secret');
    expect(box.decrypt(ciphertext)).toBe('whsec_secret');
    const change = fc.tuple(
      fc.nat({ max: ciphertext.length - 1 }),
      fc.oneof(fc.constantFrom('', 'A', 'B', '-', '_', '0', '.', '=', '\n'), fc.constant(null)),
    );
    fc.assert(
      fc.property(change, ([index, replacement]) => {
        const character = ciphertext[index] ?? '';
        const altered =
          ciphertext.slice(0, index) + (replacement ?? character + character) + ciphertext.slice(index + 1);
        fc.pre(altered !== ciphertext);
        expect(() => box.decrypt(altered)).toThrow(refusal);
      }),
      { numRuns: 500 },
    );
  });

  test('the spare bits at the end of the base64 are part of the text', () => {
    const box = createSecretBox([newKey]);
    // 31 bytes make 42 characters, of which the last has four spare bits.
    const ciphertext = box.encrypt('abc');
    const accepted = Array.from(base64urlAlphabet).filter((last) => {
      try {
        return box.decrypt(ciphertext.slice(0, -1) + last) === 'abc';
      } catch {
        return false;
      }
    });
    expect(accepted).toEqual([ciphertext.at(-1)]);
  });

  test('a ciphertext under the name of another key is refused', () => {
    const box = createSecretBox([oldKey, newKey]);
    const renamed = box.encrypt('text').replace('.2024.', '.2025.');
    expect(() => box.decrypt(renamed)).toThrow(refusal);
  });

  test('what is no ciphertext at all is refused with the same words', () => {
    const box = createSecretBox([newKey]);
    for (const text of ['', 'v1', 'v1.2025.', 'v1.2025.AAAA', 'v2.2025.AAAA', 'plain text', '..']) {
      expect(() => box.decrypt(text)).toThrow(refusal);
    }
  });

  test('decrypts rightly after more texts than it remembers', () => {
    const box = createSecretBox([newKey]);
    const ciphertexts = Array.from({ length: 10_050 }, (_, index) => box.encrypt(`text ${index}`));
    for (let pass = 0; pass < 2; pass += 1) {
      const wrong = ciphertexts.filter((ciphertext, index) => box.decrypt(ciphertext) !== `text ${index}`);
      expect(wrong).toEqual([]);
    }
  });

  test('keys that cannot be used are named when the box is made', () => {
    expect(() => createSecretBox([])).toThrow('an encryption key is needed');
    expect(() => createSecretBox([{ id: 'short', key: new Uint8Array(16) }])).toThrow(
      'encryption key short has 16 bytes, not 32',
    );
    expect(() => createSecretBox([newKey, { ...oldKey, id: '2025' }])).toThrow('encryption key id 2025 is given twice');
    expect(() => createSecretBox([{ ...newKey, id: 'a.b' }])).toThrow('not an encryption key id: "a.b"');
  });
});
