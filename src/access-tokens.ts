import { hkdfSync } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { type ApiKeyId, findId } from './domain/ids.ts';
import { isPermission, type Permission } from './domain/permissions.ts';
import type { EncryptionKey } from './encryption-key.ts';

/** What an access token says: what may be done in the name of an API key, and until when. */
export interface AccessGrant {
  apiKeyId: ApiKeyId;
  permissions: readonly Permission[];
  /** To the second. */
  expiresAt: Date;
}

/** Makes and reads access tokens. */
export interface AccessTokens {
  issue(grant: AccessGrant): Promise<string>;
  /** Null when it was not issued here, was altered, or has expired. Whether its API key still stands is not looked at. */
  verify(token: string): Promise<AccessGrant | null>;
}

// Issuer, audience and type are of these tokens only, and the algorithm is fixed (RFC 8725, sections 3.1, 3.8, 3.9, 3.11).
const algorithm = 'HS256';
const issuer = 'posthorn';
const audience = 'posthorn-graphql';
const tokenType = 'posthorn-access+jwt';

const payloadShape = z.object({
  sub: z.string().transform((text, context): ApiKeyId => {
    const apiKeyId = findId('apiKey', text);
    if (apiKeyId !== null) return apiKeyId;
    context.addIssue({ code: 'custom', message: 'not an API key id' });
    return z.NEVER;
  }),
  permissions: z.array(z.string()).transform((texts) => texts.filter(isPermission)),
  exp: z.number(),
});

/**
 * Access tokens signed with keys that are derived from the encryption keys: the first signs, and a token names its key, so
 * that they rotate together with those. A token whose key was taken out of the configuration is not valid any more.
 */
export function createAccessTokens(encryptionKeys: readonly EncryptionKey[]): AccessTokens {
  const keyById = new Map(encryptionKeys.map(({ id, key }) => [id, signingKeyOf(key)]));
  const current = keyById.entries().next().value;
  if (current === undefined) throw new RangeError('an encryption key is needed');
  const [keyId, signingKey] = current;
  const findKey = ({ kid }: { kid?: string | undefined }): Uint8Array => {
    const key = kid === undefined ? undefined : keyById.get(kid);
    if (key === undefined) throw new errors.JWSSignatureVerificationFailed();
    return key;
  };
  return {
    issue: async ({ apiKeyId, permissions, expiresAt }) =>
      await new SignJWT({ permissions: [...permissions] })
        .setProtectedHeader({ alg: algorithm, kid: keyId, typ: tokenType })
        .setIssuer(issuer)
        .setAudience(audience)
        .setSubject(apiKeyId)
        .setIssuedAt()
        .setExpirationTime(Math.floor(expiresAt.getTime() / 1000))
        .sign(signingKey),
    async verify(token) {
      try {
        const requiredClaims = ['sub', 'iat', 'exp'];
        const options = { algorithms: [algorithm], issuer, audience, typ: tokenType, requiredClaims };
        const { payload } = await jwtVerify(token, findKey, options);
        const { sub, permissions, exp } = payloadShape.parse(payload);
        return { apiKeyId: sub, permissions, expiresAt: new Date(exp * 1000) };
      } catch (error) {
        if (error instanceof errors.JOSEError) return null;
        throw error;
      }
    },
  };
}

/** Source: RFC 5869; the label keeps this key apart from what else is derived from, or encrypted with, the same one. */
function signingKeyOf(encryptionKey: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', encryptionKey, '', 'posthorn access token', 32));
}
