import type { Caller } from '../schema/context.ts';
import type { AccessGrant, AccessTokens } from './access-tokens.ts';
import type { KeyCache } from './store/key-cache.ts';
import type { FoundApiKey } from './store/api-keys.ts';

/** Gives who holds the text of an API key or an access token; null when nobody does (any more). */
export function createAuthenticate(keys: KeyCache, tokens: AccessTokens): (text: string) => Promise<Caller | null> {
  return async (text) => {
    const key = await keys.find(text);
    if (key !== null) return { kind: 'API_KEY', ...key };
    const grant = await tokens.verify(text);
    if (grant === null) return null;
    const maker = await keys.findById(grant.apiKeyId);
    return maker && tokenCaller(maker, grant);
  };
}

/** A token may never do more, nor live longer, than the key that made it. */
function tokenCaller(maker: FoundApiKey, { permissions, expiresAt }: AccessGrant): Caller {
  const granted = permissions.filter((permission) => maker.permissions.has(permission));
  return { ...maker, kind: 'ACCESS_TOKEN', permissions: new Set(granted), expiresAt };
}
