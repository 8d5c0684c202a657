import { readFileSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { prepareDataFolder, unusableDataFolder } from './data-folder.ts';

const triesMax = 5;

/**
 * Takes the folder for this process until disposal; the lock of a process that is gone is taken over.
 * Throws one sentence when another live process, or this one, has it, and when nothing can be written there.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  await prepareDataFolder(folder);
  const file = join(folder, 'lock');
  const mine = `${process.pid} ${await findStartTime(process.pid)}\n`;
  for (let tryNumber = 1; tryNumber <= triesMax; tryNumber += 1) {
    const created = await createFile(file, mine).catch((error: unknown) => {
      throw unusableDataFolder(folder, error);
    });
    if (created) return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
    const holder = await readFile(file, 'utf8').catch(() => '');
    if (await isHeld(holder)) {
      throw new Error(
        `Another Posthorn (process ${holder.split(' ')[0]}) uses the data folder ${folder}: stop it, or set POSTHORN_DATA to another folder.`,
      );
    }
    await removeStale(file, holder);
  }
  throw new Error(`The lock file ${file} cannot be taken: remove it when no Posthorn uses that folder.`);
}

/** The process that has the folder, or null when none that lives has it. */
export async function findLockHolder(folder: string): Promise<number | null> {
  const holder = await readFile(join(folder, 'lock'), 'utf8').catch(() => '');
  return (await isHeld(holder)) ? Number(holder.split(' ')[0]) : null;
}

async function createFile(file: string, content: string): Promise<boolean> {
  try {
    await writeFile(file, content, { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

async function isHeld(holder: string): Promise<boolean> {
  const [pid = '', startedAt = ''] = holder.trim().split(' ');
  if (!/^\d+$/.test(pid) || !isAlive(Number(pid))) return false;
  // In containers the same process id comes back at every start: it is the same process only if it started at the same time.
  return (await findStartTime(Number(pid))) === startedAt;
}

/** Moves the file aside first: between our reading and now, another process may have put its own there, which then goes back. */
async function removeStale(file: string, stale: string): Promise<void> {
  const aside = `${file}.${process.pid}`;
  try {
    await rename(file, aside);
  } catch {
    return; // Another process was faster; the next try sees its lock.
  }
  const moved = await readFile(aside, 'utf8');
  if (moved !== stale) await createFile(file, moved);
  await rm(aside, { force: true });
}

/** Tells whether a process with this id runs, whoever owns it; one that has ended and only waits for its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  return !isZombie(pid);
}

/** As Linux tells. In a container whose first process never waits, what was killed stays in the table for ever. */
function isZombie(pid: number): boolean {
  try {
    return /^[ZX]/.test(fieldsAfterName(readFileSync(`/proc/${pid}/stat`, 'utf8'))[0] ?? '');
  } catch {
    return false; // There is no /proc, or the process has just left; the next look tells.
  }
}

/** proc(5): the fields from the third, the state, on. The second, the name, may hold blanks and ends at the last parenthesis. */
function fieldsAfterName(status: string): string[] {
  return status.slice(status.lastIndexOf(')') + 2).split(' ');
}

/** Clock ticks since boot at which a process started, with the boot's id, as Linux tells; `-` elsewhere. */
async function findStartTime(pid: number): Promise<string> {
  try {
    const [status, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ]);
    return `${boot.trim()}/${fieldsAfterName(status)[19]}`; // starttime, field 22
  } catch {
    return '-';
  }
}
