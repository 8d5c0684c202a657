import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'this user has no permission to write there',
  EPERM: 'this user has no permission to write there',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'it is a file, or lies below one',
  ENOENT: 'no folder can be made there',
  ENOSPC: 'the disk is full',
};

/** Makes the data folder where it is missing, parents too. Throws one sentence when it cannot be made or written. */
export async function prepareDataFolder(folder: string): Promise<void> {
  try {
    await createFolder(folder);
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusableDataFolder(folder, error);
  }
}

/** The error of a data folder in which nothing can be written: one sentence with the setting, its value and why. */
export function unusableDataFolder(folder: string, cause: unknown): Error {
  const code = codeOf(cause);
  const reason = reasons[code] ?? (code === '' ? String(cause) : code);
  return new Error(`POSTHORN_DATA ${JSON.stringify(folder)} cannot be used: ${reason}.`, { cause });
}

/** Not by Node's recursive mkdir, which never ends where the parent is there and yet takes no folder, as in /proc. */
async function createFolder(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let path = folder; !(await isThere(path)) && path !== dirname(path); path = dirname(path)) missing.unshift(path);
  for (const path of missing) {
    await mkdir(path).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error; // Another process was faster.
    });
  }
  if (!(await stat(folder)).isDirectory()) throw Object.assign(new Error('not a folder'), { code: 'ENOTDIR' });
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
