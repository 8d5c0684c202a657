import { idFromUuid, type RecoveryId, uuidOf } from '../../src/domain/ids.ts';
import { newId } from '../../src/store/new-id.ts';
import { createRecovery, type RecoveryCreation, type RecoveryInput } from '../../src/store/recoveries.ts';
import type { Actor } from '../../src/store/audit.ts';
import type { RecoveryFilter } from '../../src/store/recovery-scope.ts';
import type { StoreFixture } from './store-fixture.ts';

/** What a recovery takes that nobody narrowed. */
export const anyDelivery: RecoveryFilter = {
  webhookIds: null,
  statuses: ['FAILED', 'SKIPPED'],
  eventTypes: null,
  failureReasons: null,
};

/** Somebody with an API key. */
export function someActor(): Actor {
  return { kind: 'API_KEY', apiKeyId: newId('apiKey'), requestId: 'test' };
}

/** Asks for a recovery of the hour around now, as fast as may be. */
export async function askRecovery(
  { db, projectId }: StoreFixture,
  filter: Partial<RecoveryFilter> = {},
  input: Partial<Omit<RecoveryInput, 'filter'>> = {},
): Promise<RecoveryCreation> {
  return await createRecovery(db, projectId, someActor(), {
    since: new Date(Date.now() - 1_800_000),
    until: new Date(Date.now() + 1_800_000),
    dryRun: false,
    ratePerSecond: 5_000,
    ...input,
    filter: { ...anyDelivery, ...filter },
  });
}

/** Asks for one that is given, and gives its id. */
export async function startRecovery(...asked: Parameters<typeof askRecovery>): Promise<RecoveryId> {
  const result = await askRecovery(...asked);
  if (result.kind !== 'created') throw new Error(`the recovery was refused: ${result.kind}`);
  return idFromUuid('recovery', result.recovery.id);
}

/** Lets the time pass in which a recovery may send nothing more. */
export async function passTime({ db }: StoreFixture, id: RecoveryId, ms: number): Promise<void> {
  const text = `update recoveries set progressed_at = progressed_at - $2 * interval '1 ms' where id = $1`;
  await db.pipeline.query(text, [uuidOf(id), ms]);
}

/** The recovery's row as it is. */
export async function readRecovery({ db }: StoreFixture, id: RecoveryId) {
  return await db.prisma.recovery.findUniqueOrThrow({ where: { id: uuidOf(id) } });
}
