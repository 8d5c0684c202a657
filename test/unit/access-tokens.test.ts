import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { SignJWT, UnsecuredJWT } from 'jose';
import { expect, test } from 'vitest';
import { createAccessTokens } from '../../src/access-tokens.ts';
import { newId } from '../../src/store/new-id.ts';

const first = { id: 'k1', key: new Uint8Array(randomBytes(32)) };
const second = { id: 'k2', key: new Uint8Array(randomBytes(32)) };
const tokens = createAccessTokens([first]);
const inAnHour = () => new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000);
const grant = () => ({ apiKeyId: newId('apiKey'), permissions: ['VIEW_WEBHOOKS'] as const, expiresAt: inAnHour() });

const signingKey = new Uint8Array(hkdfSync('sha256', first.key, '', 'posthorn access token', 32));
const header = { alg: 'HS256', kid: 'k1', typ: 'posthorn-access+jwt' };
const claims = () => ({
  iss: 'posthorn',
  aud: 'posthorn-graphql',
  sub: newId('apiKey') as string,
  iat: Math.floor(Date.now() / 1000),
  exp: Math.floor(Date.now() / 1000) + 60,
  permissions: ['VIEW_WEBHOOKS'],
});

async function signed(payload: object, changed: object = {}): Promise<string> {
  return await new SignJWT({ ...payload }).setProtectedHeader({ ...header, ...changed }).sign(signingKey);
}

test('a token says what it was issued for', async () => {
  const issued = grant();
  expect(await tokens.verify(await tokens.issue(issued))).toEqual(issued);
});

test('tokens rotate with the encryption keys: the key in front signs, those behind it still verify', async () => {
  const old = await tokens.issue(grant());
  const rotated = createAccessTokens([second, first]);
  expect(await rotated.verify(old)).not.toBeNull();
  const fresh = await rotated.issue(grant());
  expect(await tokens.verify(fresh)).toBeNull();
  expect(await createAccessTokens([second]).verify(old)).toBeNull();
  expect(await createAccessTokens([second]).verify(fresh)).not.toBeNull();
});

test('a token that is made by hand as these are is taken: what follows fails for its one change', async () => {
  expect(await tokens.verify(await signed(claims()))).toMatchObject({ permissions: ['VIEW_WEBHOOKS'] });
});

test.each([
  ['issuer', { iss: 'another' }],
  ['audience', { aud: 'another' }],
  ['expiry', { exp: Math.floor(Date.now() / 1000) - 1 }],
  ['missing expiry', { exp: undefined }],
  ['missing subject', { sub: undefined }],
  ['missing time of issue', { iat: undefined }],
])('a token with another %s is none', async (_what, change) => {
  expect(await tokens.verify(await signed({ ...claims(), ...change }))).toBeNull();
});

test.each([
  ['type', { typ: 'JWT' }],
  ['missing type', { typ: undefined }],
  ['key', { kid: 'k2' }],
  ['missing key', { kid: undefined }],
  ['key of a prototype', { kid: 'constructor' }],
  ['algorithm', { alg: 'HS512' }],
])('a token whose header has another %s is none', async (_what, change) => {
  expect(await tokens.verify(await signed(claims(), change))).toBeNull();
});

test('an unsigned token is none, nor is one that is signed with the encryption key itself', async () => {
  expect(await tokens.verify(new UnsecuredJWT(claims()).encode())).toBeNull();
  const underived = await new SignJWT(claims()).setProtectedHeader(header).sign(first.key);
  expect(await tokens.verify(underived)).toBeNull();
});

test('a token with any byte altered is none, nor is any other text', async () => {
  const token = await tokens.issue(grant());
  const [head = '', body = '', tag = ''] = token.split('.');
  const payload = JSON.parse(Buffer.from(body, 'base64url').toString()) as object;
  const more = Buffer.from(JSON.stringify({ ...payload, permissions: ['MANAGE_WEBHOOKS'] })).toString('base64url');
  const resigned = createHmac('sha256', 'guess').update(`${head}.${more}`).digest('base64url');
  for (const text of [`${head}.${more}.${tag}`, `${head}.${more}.${resigned}`, `${head}.${body}.`, `${head}.${body}`]) {
    expect(await tokens.verify(text)).toBeNull();
  }
  for (const text of ['', '.', '..', 'a.b.c', 'phk_x', '{}.{}.{}', `${token}.`]) {
    expect(await tokens.verify(text)).toBeNull();
  }
});

test('a permission that this version does not know is not granted', async () => {
  const text = await signed({ ...claims(), permissions: ['VIEW_WEBHOOKS', 'RULE_THEM_ALL'] });
  expect((await tokens.verify(text))?.permissions).toEqual(['VIEW_WEBHOOKS']);
});
