import { listRunningRecoveries, stepRecovery } from '../src/store/recovery-step.ts';
import { announceResent, type AnnounceDeps } from './announce.ts';
import type { RecoveryId } from '../src/domain/ids.ts';
import type { EmitSettings } from '../src/store/emit-event.ts';
import type { Pipelines } from '../src/store/pipelines.ts';

/** Recoveries that one run carries on at most; others come in the next one. */
const recoveriesMax = 200;
/** After how long a run leaves the rest to the next one, in milliseconds. */
const runMsMax = 5_000;

export interface RecoverDeps {
  database: Pipelines;
  announcing: AnnounceDeps;
  settings: EmitSettings;
}

/**
 * Carries on the recoveries that are running, each as far as its rate lets it, and gives how many deliveries it sent again.
 * They take turns, a step each, so that a huge one holds up no other. Safe to run anywhere, several at once too. A step
 * that fails is its own recovery's trouble: it is reported, and made again in the next run.
 */
export async function recover(deps: RecoverDeps, signal: AbortSignal): Promise<number> {
  const untilMs = performance.now() + runMsMax;
  const mayGoOn = (): boolean => !signal.aborted && performance.now() < untilMs;
  let resentCount = 0;
  let turn: readonly RecoveryId[] = await listRunningRecoveries(deps.database, recoveriesMax);
  while (turn.length > 0 && mayGoOn()) {
    const next: RecoveryId[] = [];
    for (const id of turn) {
      if (!mayGoOn()) break;
      const step = await takeStep(deps, id);
      resentCount += step.resentCount;
      if (step.goesOn) next.push(id);
    }
    turn = next;
  }
  return resentCount;
}

async function takeStep(
  { database, announcing, settings }: RecoverDeps,
  id: RecoveryId,
): Promise<{ resentCount: number; goesOn: boolean }> {
  try {
    const step = await stepRecovery(database, settings, id);
    if (step.kind === 'none') return { resentCount: 0, goesOn: false };
    await announceResent(announcing, step.projectId, step.resent);
    return { resentCount: step.resent.length, goesOn: !step.finished };
  } catch (error) {
    announcing.onLost(`a step of ${id} failed; it is made again`, error);
    return { resentCount: 0, goesOn: false };
  }
}
