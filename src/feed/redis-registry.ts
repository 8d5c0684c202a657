import type { Redis } from 'ioredis';

/** Where the registry is. */
export interface RegistrySettings {
  /** Begins every key and channel. */
  keyPrefix: string;
  /** A publisher that has not beaten for so long counts as dead. */
  lapseMs: number;
  /** A registry that nobody beats in is dropped after this long, as the logs are. */
  idleMs: number;
}

/** What one publisher says in a beat. */
export interface Beat {
  publisherId: string;
  /** The latest generation that it knows of. */
  generation: number;
  /** How many losses it has had, and of how many of them it knows that a beat has told. */
  lossCount: number;
  toldCount: number;
}

/**
 * Registers the publisher ARGV[1], gives the generation, and begins another one when anything may have been lost: a loss
 * that no beat has told, a publisher that died without leaving, or the registry itself. All of it is one hash, so that it
 * is lost as a whole. A generation is the server's time in milliseconds when it began, and later than any known one: those
 * who know a generation of before the server was emptied must not take the next one for an old one. What a publisher has
 * told is kept with its time, so that a beat whose answer was lost, and which is sent again, is told once. It is written
 * before anything else is done: that is what a server without memory refuses, and what was done before would stay.
 */
const beatScript = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('HGET', KEYS[1], 'generation')
local generation = math.max(tonumber(known or 0), tonumber(ARGV[2]))
local told = tonumber(ARGV[4])
local lost = not known
local lapsed = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] ~= 'generation' then
    local at, count = string.match(fields[i + 1], '^(%d+) (%d+)$')
    if fields[i] == ARGV[1] then
      told = math.max(told, tonumber(count))
    elseif math.abs(now - at) > tonumber(ARGV[5]) then
      table.insert(lapsed, fields[i])
      lost = true
    end
  end
end
if lost or tonumber(ARGV[3]) > told then
  generation = math.max(generation + 1, now)
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[3],
  'generation', string.format('%.0f', generation))
if #lapsed > 0 then redis.call('HDEL', KEYS[1], unpack(lapsed)) end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if generation > tonumber(known or 0) then redis.call('PUBLISH', ARGV[7], string.format('%.0f', generation)) end
return string.format('%.0f', generation)
`;

/** The name of the channel on which a new generation is announced. */
export function generationChannel({ keyPrefix }: Pick<RegistrySettings, 'keyPrefix'>): string {
  return `${keyPrefix}:generation`;
}

/** Registers a publisher for the next `lapseMs`, and gives the generation. Rejects when the server does not answer. */
export async function beat(redis: Redis, settings: RegistrySettings, said: Beat): Promise<number> {
  const { publisherId, generation, lossCount, toldCount } = said;
  const { lapseMs, idleMs } = settings;
  const counts = [generation, lossCount, toldCount, lapseMs, idleMs];
  const reply = await redis.eval(beatScript, 1, keyOf(settings), publisherId, ...counts, generationChannel(settings));
  const current = Number(reply);
  if (!Number.isSafeInteger(current)) throw new Error(`the feed's registry gave ${JSON.stringify(reply)}`);
  return current;
}

/** Takes a publisher out that has nothing left to tell. Rejects when the server does not answer. */
export async function leave(redis: Redis, settings: RegistrySettings, publisherId: string): Promise<void> {
  await redis.hdel(keyOf(settings), publisherId);
}

function keyOf({ keyPrefix }: RegistrySettings): string {
  return `${keyPrefix}:publishers`;
}
