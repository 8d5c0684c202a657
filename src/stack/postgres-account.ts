import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chown, stat } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Who runs the Postgres binaries: this process's own user, or for root, which Postgres refuses, the user `postgres`. */
export interface PostgresAccount {
  /** The arguments to spawn, so that the program runs as this account and `signal` ends it when this process dies. */
  command(program: string, args: readonly string[], signalOnOrphaned: 'INT' | 'KILL'): PostgresCommand;
  /** Gives a file or folder to the account. */
  own(path: string): Promise<void>;
}

export interface PostgresCommand {
  file: string;
  args: string[];
  uid?: number;
  gid?: number;
}

/**
 * Finds the account that can run Postgres on these paths; as root it adds the user `postgres` where there is none.
 * Throws when `postgres` cannot be added, or cannot enter one of the paths and no `setpriv` is there to let it.
 */
export async function loadPostgresAccount(paths: readonly string[]): Promise<PostgresAccount> {
  const setpriv = await findSetpriv();
  if (process.getuid?.() !== 0) return accountOfThisProcess(setpriv);
  const ids = await loadPostgresUser();
  const closed = await findClosedFolder(paths, ids);
  if (closed !== null && setpriv === null) {
    throw new Error(
      `As root, Posthorn runs its embedded Postgres as user postgres, who cannot enter ${closed}: open that folder (chmod o+x), set POSTHORN_DATA to another one, or start Posthorn as another user.`,
    );
  }
  return {
    own: async (path) => chown(path, ids.uid, ids.gid),
    command: (program, args, signalOnOrphaned) => {
      if (setpriv === null) return { file: program, args: [...args], ...ids };
      // Folders like /root keep others out: the capability lets this one process pass them, changing no mode on the way.
      const capability = closed === null ? [] : ['--inh-caps=+dac_override', '--ambient-caps=+dac_override'];
      const change = [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups', ...capability];
      return { file: setpriv, args: [...change, `--pdeathsig=${signalOnOrphaned}`, program, ...args] };
    },
  };
}

function accountOfThisProcess(setpriv: string | null): PostgresAccount {
  return {
    own: () => Promise.resolve(),
    command: (program, args, signalOnOrphaned) =>
      setpriv === null
        ? { file: program, args: [...args] }
        : { file: setpriv, args: [`--pdeathsig=${signalOnOrphaned}`, program, ...args] },
  };
}

/** setpriv (util-linux) asks the kernel to signal Postgres when this process dies, by SIGKILL too. Other systems lack it. */
async function findSetpriv(): Promise<string | null> {
  if (process.platform !== 'linux') return null;
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const file = join(folder, 'setpriv');
    try {
      await access(file, constants.X_OK);
      // Busybox has a setpriv without this option.
      const { stdout } = await run(file, ['--help']);
      if (stdout.includes('--pdeathsig')) return file;
    } catch {
      // Not in this folder, or not this kind: the next may have it.
    }
  }
  return null;
}

interface UserIds {
  uid: number;
  gid: number;
}

async function loadPostgresUser(): Promise<UserIds> {
  const known = await findPostgresUser();
  if (known !== null) return known;
  try {
    await run('groupadd', ['--system', 'postgres']).catch(() => undefined); // It may be there already, then useradd is what tells.
    await run('useradd', ['--system', '--no-create-home', '--gid', 'postgres', 'postgres']);
  } catch (error) {
    throw new Error(
      'Postgres does not run as root, and the user postgres could not be added: add it, start Posthorn as another user, or set DATABASE_URL.',
      { cause: error },
    );
  }
  const added = await findPostgresUser();
  if (added === null) throw new Error('The user postgres was added and yet is not known to this system.');
  return added;
}

async function findPostgresUser(): Promise<UserIds | null> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', 'postgres']), run('id', ['-g', 'postgres'])]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return null; // `id` fails when there is no such user.
  }
}

/** Gives the first folder above the paths that these ids may not enter. */
async function findClosedFolder(paths: readonly string[], ids: UserIds): Promise<string | null> {
  for (const path of paths) {
    for (let folder = path; ; folder = dirname(folder)) {
      const { mode, uid, gid } = await stat(folder);
      const enterBit = uid === ids.uid ? 0o100 : gid === ids.gid ? 0o010 : 0o001;
      if ((mode & enterBit) === 0) return folder;
      if (folder === dirname(folder)) break;
    }
  }
  return null;
}
