import { createHash } from 'node:crypto';
import type { ApiKeyId } from '../domain/ids.ts';
import { findApiKey, findApiKeyById, type FoundApiKey, isKeyText } from './api-keys.ts';
import type { Pipelines } from './pipelines.ts';

/** Looks API keys up as src/store/api-keys.ts does, and remembers for a second what it found. */
export interface KeyCache {
  /** Whom the key's text speaks for; null when there is no such key, or it was revoked or has expired. */
  find(key: string): Promise<FoundApiKey | null>;
  findById(apiKeyId: ApiKeyId): Promise<FoundApiKey | null>;
  /** The key was revoked through this process, where that takes effect at once. */
  forget(apiKeyId: ApiKeyId): void;
  /** Calls the listener with each key that is forgotten from now on, before `forget` returns. */
  onForget(listener: (apiKeyId: ApiKeyId) => void): void;
}

export interface KeyCacheOptions {
  /** A clock in milliseconds; default `performance.now`. */
  now?: () => number;
  /** How long another process's revocation may go unnoticed here; default 1 s. */
  keptMs?: number;
  /** Keys remembered; default 10,000, about 5 MB. */
  keysMax?: number;
}

interface Kept {
  found: FoundApiKey;
  untilMs: number;
}

/**
 * Creates the cache of one process. Keys are remembered by their SHA-256, never by their text. Those that do not exist are
 * not remembered: a key works from the moment on in which it is made. Calls for one key at the same time share a look-up.
 */
export function createKeyCache(database: Pipelines, options: KeyCacheOptions = {}): KeyCache {
  const { now = () => performance.now(), keptMs = 1_000, keysMax = 10_000 } = options;
  const kept = new Map<string, Kept>();
  const underWay = new Map<string, Promise<FoundApiKey | null>>();
  const listeners: ((apiKeyId: ApiKeyId) => void)[] = [];

  function keep(name: string, found: FoundApiKey, askedAtMs: number): void {
    kept.delete(name);
    const [oldest] = kept.keys();
    if (kept.size >= keysMax && oldest !== undefined) kept.delete(oldest);
    kept.set(name, { found, untilMs: askedAtMs + keptMs });
  }

  async function lookUp(name: string, look: () => Promise<FoundApiKey | null>): Promise<FoundApiKey | null> {
    const shared = underWay.get(name);
    if (shared !== undefined) return await shared;
    const askedAtMs = now();
    const started = look();
    underWay.set(name, started);
    try {
      const found = await started;
      // Not if a key was forgotten meanwhile: this look-up may have been made before its revocation.
      if (found !== null && underWay.get(name) === started) keep(name, found, askedAtMs);
      return found;
    } finally {
      if (underWay.get(name) === started) underWay.delete(name);
    }
  }

  async function find(name: string, look: () => Promise<FoundApiKey | null>): Promise<FoundApiKey | null> {
    const entry = kept.get(name);
    if (entry !== undefined && now() < entry.untilMs && !hasExpired(entry.found)) return entry.found;
    return await lookUp(name, look);
  }

  return {
    async find(key) {
      if (!isKeyText(key)) return null;
      const name = createHash('sha256').update(key).digest('base64');
      return await find(name, async () => await findApiKey(database, key));
    },
    findById: async (apiKeyId) => await find(apiKeyId, async () => await findApiKeyById(database, apiKeyId)),
    forget(apiKeyId) {
      underWay.clear();
      for (const [name, { found }] of kept) if (found.apiKeyId === apiKeyId) kept.delete(name);
      for (const listener of listeners) listener(apiKeyId);
    },
    onForget: (listener) => void listeners.push(listener),
  };
}

function hasExpired({ expiresAt }: FoundApiKey): boolean {
  return expiresAt !== null && expiresAt.getTime() <= Date.now();
}
