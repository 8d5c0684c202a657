import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const triesMax = 5;

/**
 * Takes the folder for this process until disposal; the lock of a process that is gone is taken over.
 * Throws when another live process, or this one, has it.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, 'lock');
  const mine = `${process.pid} ${await findStartTime(process.pid)}\n`;
  for (let tryNumber = 1; tryNumber <= triesMax; tryNumber += 1) {
    if (await createFile(file, mine)) return { [Symbol.asyncDispose]: () => rm(file, { force: true }) };
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

/** Tells whether a process with this id exists, whoever owns it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Clock ticks since boot at which a process started, with the boot's id, as Linux tells; `-` elsewhere. */
async function findStartTime(pid: number): Promise<string> {
  try {
    const [status, boot] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'utf8'),
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    ]);
    // proc(5): starttime is field 22; the second, the name, may hold blanks and ends at the last parenthesis.
    const ticks = status.slice(status.lastIndexOf(')') + 2).split(' ')[19];
    return `${boot.trim()}/${ticks}`;
  } catch {
    return '-';
  }
}
