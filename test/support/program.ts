import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

const installLimitMs = 180_000;

/** The path of a program that the tests need; as root on Debian or Ubuntu it is installed when it is missing. */
export async function requireProgram(name: string): Promise<string> {
  return findProgram(name) ?? (await install(name));
}

function findProgram(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}

/** Installs the Debian package of that name; test files that start at the same time wait for one installation. */
async function install(name: string): Promise<string> {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    throw new Error(`these tests need ${name}: install it (apt-get install ${name}, brew install ${name})`);
  }
  const script = `command -v ${name} || { apt-get update && apt-get install -y --no-install-recommends ${name}; }`;
  await promisify(execFile)('flock', [join(tmpdir(), `posthorn-${name}-install.lock`), 'sh', '-c', script], {
    timeout: installLimitMs,
    maxBuffer: 64 * 1024 * 1024,
    // RUNLEVEL: a package that is a server does not start it.
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
  });
  const path = findProgram(name);
  if (path === null) throw new Error(`${name} was installed but is not in the PATH`);
  return path;
}
