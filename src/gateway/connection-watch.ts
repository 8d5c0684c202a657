import { currentOperation } from './operation-scope.ts';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Administrator, Caller } from '../../schema/context.ts';
import type { ApiKeyId } from '../domain/ids.ts';
import type { GatewayMeter } from './gateway-meter.ts';
import type { GatewayLimits } from './limits.ts';

/** A connection that stays open: a WebSocket or an event stream. */
export interface LiveConnection {
  readonly socket: Socket;
  /** The API key or access token it was opened with, if any. */
  readonly key: string | null;
  /** Whom it speaks for. */
  readonly caller: Caller | Administrator | null;
  /** Takes the key's holder as it is now, who may do no less than before. */
  onCaller(caller: Caller): void;
  /** The key is not valid any more, or was deprived of a permission, which what runs already may need. */
  onForbidden(): void;
  /** Its reader takes nothing. */
  onStalled(): void;
  /** Time to see whether the other side still lives. */
  onPing(): void;
}

/** Looks after connections until they are removed. */
export interface ConnectionWatch extends Disposable {
  /** Returns the function that removes it. */
  add(connection: LiveConnection): () => void;
  /**
   * Ends what was opened with the key or its access tokens, now that the operation under way has revoked it. If that came
   * by one of these connections, this one ends with it, so that it is answered.
   */
  revoke(apiKeyId: ApiKeyId): void;
}

interface Watched {
  writtenBytes: number;
  progressAtMs: number;
  pingAtMs: number;
}

/** Keys that are looked up at the same time. */
const lookupsMax = 10;

/** Starts the one timer that looks after all live connections: stalled readers, pings, keys that expire or were revoked. */
export function startConnectionWatch(options: {
  authenticate: (key: string) => Promise<Caller | null>;
  limits: GatewayLimits;
  logger: Logger;
  meter?: GatewayMeter | undefined;
}): ConnectionWatch {
  const { limits, logger, meter } = options;
  const connections = new Map<LiveConnection, Watched>();
  let lookedUpAtMs = performance.now();
  let lookup: Promise<void> | null = null;

  const tick = (): void => {
    const nowMs = performance.now();
    for (const [connection, watched] of connections) {
      if (hasExpired(connection)) connection.onForbidden();
      else if (isStalled(connection, watched, nowMs, limits)) {
        logger.info({ waitingBytes: connection.socket.writableLength }, 'a reader that takes nothing is cut off');
        meter?.slowReaderClosed();
        connection.onStalled();
      } else if (nowMs >= watched.pingAtMs) {
        watched.pingAtMs = nowMs + limits.pingMs;
        connection.onPing();
      }
    }
    if (lookup !== null || nowMs - lookedUpAtMs < limits.reauthenticateMs) return;
    lookedUpAtMs = nowMs;
    lookup = reauthenticate([...connections.keys()], options.authenticate)
      .catch((error: unknown) => logger.warn({ err: error }, 'live connections could not be authenticated again'))
      .finally(() => (lookup = null));
  };
  const timer = setInterval(tick, limits.tickMs).unref();

  return {
    add(connection) {
      const nowMs = performance.now();
      connections.set(connection, { writtenBytes: 0, progressAtMs: nowMs, pingAtMs: nowMs + limits.pingMs });
      return () => void connections.delete(connection);
    },
    revoke(apiKeyId) {
      const { caller: asking, held } = currentOperation();
      for (const connection of connections.keys()) {
        if (!isOfKey(connection, apiKeyId)) continue;
        if (connection.caller === asking) held.defer(() => connection.onForbidden());
        else connection.onForbidden();
      }
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

/** Told by the clock alone: the moment is known, and no look-up can be late for it. */
function hasExpired({ caller }: LiveConnection): boolean {
  if (caller === null || caller.kind === 'ADMINISTRATOR') return false;
  return caller.expiresAt !== null && caller.expiresAt.getTime() <= Date.now();
}

function isOfKey({ caller }: LiveConnection, apiKeyId: ApiKeyId): boolean {
  return caller !== null && caller.kind !== 'ADMINISTRATOR' && caller.apiKeyId === apiKeyId;
}

function mayLess(now: Caller, before: LiveConnection['caller']): boolean {
  if (before === null || before.kind === 'ADMINISTRATOR') return false;
  return [...before.permissions].some((permission) => !now.permissions.has(permission));
}

function isStalled(
  { socket }: LiveConnection,
  watched: Watched,
  nowMs: number,
  { stalledMs }: { stalledMs: number },
): boolean {
  const writtenBytes = socket.bytesWritten - socket.writableLength; // grows when the kernel has taken a whole write
  if (socket.writableLength === 0 || writtenBytes !== watched.writtenBytes) watched.progressAtMs = nowMs;
  watched.writtenBytes = writtenBytes;
  if (nowMs - watched.progressAtMs < stalledMs) return false;
  watched.progressAtMs = nowMs;
  return true;
}

/** Looks up each key once, however many connections were opened with it. */
async function reauthenticate(
  connections: readonly LiveConnection[],
  authenticate: (key: string) => Promise<Caller | null>,
): Promise<void> {
  const byKey = Map.groupBy(connections, ({ key }) => key);
  const keys = [...byKey.keys()].filter((key) => key !== null);
  for (let start = 0; start < keys.length; start += lookupsMax) {
    await Promise.all(
      keys.slice(start, start + lookupsMax).map(async (key) => {
        const caller = await authenticate(key);
        for (const connection of byKey.get(key) ?? []) {
          if (caller === null || mayLess(caller, connection.caller)) connection.onForbidden();
          else connection.onCaller(caller);
        }
      }),
    );
  }
}
