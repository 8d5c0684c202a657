import type { Redis } from 'ioredis';
import { createEpoch, cursorText } from './cursor.ts';
import type { LogState } from './cursor.ts';
import type { ProjectId } from '../domain/ids.ts';
import type { FeedEntry, FeedItem } from './feed.ts';

/** What the logs of all projects share. */
export interface RedisLogSettings {
  keyPrefix: string;
  /** Items kept per project; trimming is approximate, so up to some hundred more stay. */
  logLength: number;
  /** A log nobody publishes to or reads is dropped after this long; its cursors expire. */
  idleMs: number;
  /** Gives the latest generation that this process knows of (redis-presence.ts). */
  generation: () => number;
}

/** Items appended in one message. */
export interface Announcement {
  epoch: string;
  /** Number of the first entry. */
  first: number;
  entries: readonly FeedEntry[];
}

/**
 * Begins every script: finds the log's epoch and sequence, or starts a new life under the epoch in ARGV[1] when any of it
 * was lost: the keys were evicted, flushed or expired, the server is another one than wrote them, or a generation later
 * than the log's is known, in ARGV[3]. That of the server matters because a restart may restore an old snapshot, whose
 * sequence would give numbers out a second time. A server that keeps INFO from us has an empty name.
 */
const prelude = `
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local epoch, seq, writer, generation = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'server', 'generation'))
seq = tonumber(seq or 0)
generation = tonumber(generation or 0)
local known = tonumber(ARGV[3])
if not epoch or writer ~= server or generation < known or (seq > 0 and redis.call('EXISTS', KEYS[2]) == 0) then
  epoch, seq, generation = ARGV[1], 0, math.max(generation, known)
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'server', server,
    'generation', string.format('%.0f', generation))
end
`;

/** Ends every script: both keys live on for ARGV[2] milliseconds. */
const keepAlive = `
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
`;

/**
 * Appends ARGV[6...] with contiguous ids and tells the channel ARGV[5]; when the log is of a later generation than is known,
 * it gives that and does nothing.
 */
const appendScript = `${prelude}
if generation > known then return string.format('%.0f', generation) end
local count = #ARGV - 5
redis.call('HINCRBY', KEYS[1], 'seq', count)
for i = 1, count do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], (seq + i) .. '-0', 'e', ARGV[5 + i])
end
${keepAlive}
redis.call('PUBLISH', ARGV[5], '["' .. epoch .. '",' .. (seq + 1) .. ',[' .. table.concat(ARGV, ',', 6) .. ']]')
return false
`;

/** Gives epoch, sequence, number of the oldest item, and the ids and entries of ARGV[5] items from number ARGV[4]. */
const readScript = `${prelude}
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
local first = oldest[1] and string.match(oldest[1][1], '%d+') or (seq + 1)
local reply = { epoch, tostring(seq), tostring(first) }
if ARGV[5] ~= '0' then
  for _, row in ipairs(redis.call('XRANGE', KEYS[2], ARGV[4] .. '-0', '+', 'COUNT', ARGV[5])) do
    table.insert(reply, row[1])
    table.insert(reply, row[2][2])
  end
end
${keepAlive}
return reply
`;

/** The name of the channel on which a project's items are announced. */
export function channelOf(settings: RedisLogSettings, projectId: ProjectId): string {
  return `${settings.keyPrefix}:{${projectId}}:live`;
}

/**
 * Appends entries (as JSON text) to a project's log, contiguously, and announces them, in one script; gives null then. A
 * later generation than the known one is given, and nothing was appended. Rejects when the server does not answer.
 */
export async function appendToLog(
  redis: Redis,
  settings: RedisLogSettings,
  projectId: ProjectId,
  entries: readonly string[],
): Promise<number | null> {
  const channel = channelOf(settings, projectId);
  const later = await redis.eval(
    appendScript,
    2,
    ...keysOf(settings, projectId),
    ...preludeArguments(settings),
    settings.logLength,
    channel,
    ...entries,
  );
  return later === null ? null : Number(later);
}

/** What a project's log holds now. Rejects when the server does not answer. */
export async function readLogState(redis: Redis, settings: RedisLogSettings, projectId: ProjectId): Promise<LogState> {
  const { state } = await readLog(redis, settings, projectId, { from: 1, count: 0 });
  return state;
}

/** The log's state and, read at the same moment, at most `count` items from number `from` on, in order. */
export async function readLog(
  redis: Redis,
  settings: RedisLogSettings,
  projectId: ProjectId,
  range: { from: number; count: number },
): Promise<{ state: LogState; items: readonly FeedItem[] }> {
  const keys = keysOf(settings, projectId);
  const reply = await redis.eval(readScript, 2, ...keys, ...preludeArguments(settings), range.from, range.count);
  return parseReply(reply);
}

function preludeArguments({ idleMs, generation }: RedisLogSettings): [epoch: string, idleMs: number, known: number] {
  return [createEpoch(), idleMs, generation()];
}

function keysOf(settings: RedisLogSettings, projectId: ProjectId): [meta: string, log: string] {
  // The braces are a hash tag: a cluster keeps one project's keys on one slot, as a script needs them.
  const base = `${settings.keyPrefix}:{${projectId}}`;
  return [`${base}:meta`, `${base}:log`];
}

function parseReply(reply: unknown): { state: LogState; items: readonly FeedItem[] } {
  if (!Array.isArray(reply)) throw new Error('the feed log gave no list');
  const [epoch = '', head, first, ...rows] = reply.map(String);
  const state: LogState = { epoch, first: Number(first), head: Number(head) };
  const items: FeedItem[] = [];
  for (let index = 0; index + 1 < rows.length; index += 2) {
    const n = Number.parseInt(rows[index] ?? '', 10);
    items.push({ cursor: cursorText(epoch, n), entry: parseEntry(rows[index + 1] ?? '') });
  }
  return { state, items };
}

function parseEntry(text: string): FeedEntry {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- only appendToLog writes the log
  return JSON.parse(text) as FeedEntry;
}

/** Reads a message of the channel. Throws an Error when it is none of ours. */
export function parseAnnouncement(text: string): Announcement {
  const message: unknown = JSON.parse(text);
  const [epoch, first, entries]: unknown[] = Array.isArray(message) ? message : [];
  if (typeof epoch !== 'string' || typeof first !== 'number' || !Array.isArray(entries)) {
    throw new Error(`not a feed announcement: ${text.slice(0, 64)}`);
  }
  return { epoch, first, entries };
}
