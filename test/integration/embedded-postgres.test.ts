import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { startEmbeddedPostgres } from '../../src/stack/embedded-postgres.ts';

const program = join(import.meta.dirname, '..', 'support', 'embedded-postgres-process.ts');
const limit = { timeout: 20_000, interval: 20 };

let folder: string;
let dataFolder: string;
const children: ChildProcess[] = [];

let seedFolder: string;

beforeAll(async () => {
  seedFolder = await mkdtemp(join(tmpdir(), 'posthorn-embedded-seed-'));
  const postgres = await startEmbeddedPostgres({ dataFolder: join(seedFolder, 'data') });
  await postgres[Symbol.asyncDispose]();
});

afterAll(() => rm(seedFolder, { recursive: true, force: true }));

beforeEach(async () => {
  // mkdtemp's folder is closed to every other user: what user postgres meets below /root.
  folder = await mkdtemp(join(tmpdir(), 'posthorn-embedded-'));
  // A first start takes a second: all but the tests of just that begin with a copy of an initialised folder.
  execFileSync('cp', ['-a', join(seedFolder, 'data'), folder]);
  dataFolder = join(folder, 'data');
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  const pid = await findServer();
  if (pid !== null) process.kill(pid, 'SIGKILL');
  await vi.waitFor(() => rm(folder, { recursive: true, force: true }), limit);
});

/** Starts a process that has the server, and gives its output line by line as it comes. */
function startProcess(options: { env?: Record<string, string>; detached?: boolean } = {}): {
  child: ChildProcess;
  output: () => string;
  ready: () => Promise<void>;
} {
  const child = spawn(process.execPath, [program, dataFolder], {
    env: { ...process.env, ...options.env },
    detached: options.detached ?? false,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => (output += String(chunk)));
  const ready = (): Promise<void> => vi.waitFor(() => expect(output).toContain('"url"'), limit);
  return { child, output: () => output, ready };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const ended = once(child, 'close');
  child.kill(signal);
  await ended;
  return child.exitCode;
}

/** As `ps` tells: one that only its parent's wait keeps in the table is gone. */
function isAlive(pid: number): boolean {
  try {
    const state = execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    return state !== '' && !state.startsWith('Z');
  } catch {
    return false; // It ends with 1 when there is no such process.
  }
}

/** The process id of the server that runs on the data folder. */
async function findServer(): Promise<number | null> {
  const text = await readFile(join(dataFolder, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '');
  const pid = Number(text.split('\n')[0]);
  return pid > 0 && isAlive(pid) ? pid : null;
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** A PATH whose setpriv forgets to ask for the signal at the parent's death, as on systems that cannot. */
async function pathWithoutDeathSignal(): Promise<string> {
  const bin = join(folder, 'bin');
  const real = execFileSync('sh', ['-c', 'command -v setpriv || true'], { encoding: 'utf8' }).trim();
  const drop = 'for a; do shift; case "$a" in --pdeathsig=*) ;; *) set -- "$@" "$a";; esac; done';
  await mkdir(bin);
  await writeFile(join(bin, 'setpriv'), `#!/bin/sh\n${drop}\nexec ${real} "$@"\n`, { mode: 0o755 });
  return real === '' ? (process.env['PATH'] ?? '') : `${bin}${delimiter}${process.env['PATH']}`;
}

describe('one start after the other', () => {
  test('the data and the password are kept, in files that are their owner’s only', async () => {
    dataFolder = join(folder, 'new');
    const first = await startEmbeddedPostgres({ dataFolder });
    await query(first.url, 'create table kept as select 1 as number');
    await first[Symbol.asyncDispose]();
    expect(await findServer()).toBeNull();

    await using second = await startEmbeddedPostgres({ dataFolder });
    expect(await query(second.url, 'select number from kept')).toEqual([{ number: 1 }]);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
    for (const name of ['postgres-password', 'postgres.log', 'lock']) {
      expect((await stat(join(dataFolder, name))).mode & 0o777).toBe(0o600);
    }
    expect((await stat(join(dataFolder, 'postgres'))).mode & 0o777).toBe(0o700);
  });

  test('it listens on 127.0.0.1 only and wants the password', async () => {
    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(
      await query(
        postgres.url,
        `select current_setting('listen_addresses') as addresses, current_setting('unix_socket_directories') as sockets`,
      ),
    ).toEqual([{ addresses: '127.0.0.1', sockets: '' }]);
    const url = new URL(postgres.url);
    url.password = 'wrong';
    await expect(query(url.href, 'select 1')).rejects.toThrow('password authentication failed');
  });

  test('a first start that is killed in the middle does not harm the next', async () => {
    dataFolder = join(folder, 'new');
    const { child } = startProcess();
    await vi.waitFor(async () => {
      const names = await readdir(dataFolder);
      const begun = names.find((name) => name.startsWith('postgres-new-') && !name.endsWith('.password')) ?? 'none';
      expect(await readdir(join(dataFolder, begun))).toContain('base');
    }, limit);
    await end(child, 'SIGKILL');
    expect(await readdir(dataFolder)).not.toContain('postgres');

    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(await query(postgres.url, 'select 1 as number')).toEqual([{ number: 1 }]);
    expect((await readdir(dataFolder)).sort()).toEqual(['lock', 'postgres', 'postgres-password', 'postgres.log']);
  });

  test('a log that has grown long is emptied', async () => {
    await writeFile(join(dataFolder, 'postgres.log'), Buffer.alloc(9 * 1024 * 1024));
    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(await query(postgres.url, 'select 1 as number')).toEqual([{ number: 1 }]);
    expect((await stat(join(dataFolder, 'postgres.log'))).size).toBeLessThan(100_000);
  });

  test('a cluster that Postgres refuses is reported with its reason', async () => {
    const first = await startEmbeddedPostgres({ dataFolder });
    await first[Symbol.asyncDispose]();
    await writeFile(join(dataFolder, 'postgres', 'PG_VERSION'), '9.6\n');
    await expect(startEmbeddedPostgres({ dataFolder })).rejects.toThrow(
      /^Postgres did not start: .*FATAL: .*incompatible/,
    );
    await expect(startEmbeddedPostgres({ dataFolder })).rejects.not.toThrow('Another Posthorn');
  });
});

describe('a process that ends', () => {
  test('by SIGTERM leaves no server and no lock', async () => {
    const { child, ready } = startProcess();
    await ready();
    expect(await findServer()).not.toBeNull();
    expect(await end(child, 'SIGTERM')).toBe(0);
    expect(await findServer()).toBeNull();
    expect(await readdir(dataFolder)).not.toContain('lock');
  });

  test('by a Ctrl-C that reaches its whole group still has the server while it finishes', async () => {
    const { child, output, ready } = startProcess({ detached: true });
    await ready();
    const ended = once(child, 'close');
    process.kill(-(child.pid ?? 0), 'SIGINT');
    await ended;
    expect(output()).toContain('"answerAfterSignal":42');
    expect(await findServer()).toBeNull();
  });

  test.runIf(process.platform === 'linux')('by SIGKILL takes the server with it', async () => {
    const { child, ready } = startProcess();
    await ready();
    await end(child, 'SIGKILL');
    await vi.waitFor(async () => expect(await findServer()).toBeNull(), limit);
  });

  test('together with its server by SIGKILL loses nothing that was committed', async () => {
    const { child, output, ready } = startProcess();
    await ready();
    const { url } = JSON.parse(output()) as { url: string };
    await query(url, 'create table kept as select generate_series(1, 1000) as number');
    process.kill((await findServer()) ?? 0, 'SIGKILL');
    await end(child, 'SIGKILL');

    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(await query(postgres.url, 'select count(*)::int as count from kept')).toEqual([{ count: 1_000 }]);
  });

  test('by SIGKILL where the server survives it: the next start stops that server and goes on', async () => {
    const { child, output, ready } = startProcess({ env: { PATH: await pathWithoutDeathSignal() } });
    await ready();
    const { url } = JSON.parse(output()) as { url: string };
    await query(url, 'create table kept as select 1 as number');
    await end(child, 'SIGKILL');
    const orphan = (await findServer()) ?? 0;
    expect(isAlive(orphan)).toBe(true);

    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(isAlive(orphan)).toBe(false);
    expect(await query(postgres.url, 'select number from kept')).toEqual([{ number: 1 }]);
  });
});

describe('the lock of the data folder', () => {
  test('refuses a second process in one sentence, and the first goes on', async () => {
    const { child, output, ready } = startProcess();
    await ready();
    await expect(startEmbeddedPostgres({ dataFolder })).rejects.toThrow(
      `Another Posthorn (process ${child.pid}) uses the data folder ${dataFolder}: stop it, or set POSTHORN_DATA to another folder.`,
    );
    const { url } = JSON.parse(output()) as { url: string };
    expect(await query(url, 'select 1 as number')).toEqual([{ number: 1 }]);
  });

  test('refuses a second start within one process', async () => {
    await using _postgres = await startEmbeddedPostgres({ dataFolder });
    await expect(startEmbeddedPostgres({ dataFolder })).rejects.toThrow(`Another Posthorn (process ${process.pid})`);
  });

  test.each([
    ['a process that is gone', '2147483646 -\n'],
    ['an earlier process whose id another one has now', `${process.pid} earlier-boot/1\n`],
    ['a process that was killed while it wrote', ''],
  ])('of %s is taken over', async (_whose, content) => {
    await writeFile(join(dataFolder, 'lock'), content);
    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(await query(postgres.url, 'select 1 as number')).toEqual([{ number: 1 }]);
  });
});

describe.runIf(process.platform === 'linux')('a process that has ended and is still in the table', () => {
  test('does not hold the lock of the data folder', async () => {
    const zombie = await startZombie();
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    const startedAt = zombie.status.slice(zombie.status.lastIndexOf(')') + 2).split(' ')[19];
    await writeFile(join(dataFolder, 'lock'), `${zombie.pid} ${boot}/${startedAt}\n`);
    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(await query(postgres.url, 'select 1 as number')).toEqual([{ number: 1 }]);
  });

  test('is not taken for a server', async () => {
    const cluster = join(dataFolder, 'postgres');
    const { pid } = await startZombie(await stat(cluster));
    await writeFile(join(cluster, 'postmaster.pid'), `${pid}\n${cluster}\n1\n1\n\n127.0.0.1\n0 0\nready\n`);
    await using postgres = await startEmbeddedPostgres({ dataFolder });
    expect(await query(postgres.url, 'select 1 as number')).toEqual([{ number: 1 }]);
  });
});

/** Makes a process that ends and whose parent never asks how, as under the first process of many containers. */
async function startZombie(owner?: { uid: number; gid: number }): Promise<{ pid: number; status: string }> {
  const ids = process.getuid?.() === 0 && owner !== undefined ? { uid: owner.uid, gid: owner.gid } : {};
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { cwd: '/', ...ids });
  children.push(parent);
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(String(line));
  const readStatus = async (): Promise<string> => await readFile(`/proc/${pid}/stat`, 'utf8');
  await vi.waitFor(async () => expect(await readStatus()).toMatch(/\) Z /), limit);
  return { pid, status: await readStatus() };
}

describe('a data folder that cannot be used is refused in one sentence', () => {
  test.each(['', '/below'])('a file in its place (%j)', async (below) => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    await expect(startEmbeddedPostgres({ dataFolder: `${file}${below}` })).rejects.toThrow(
      `POSTHORN_DATA "${file}${below}" cannot be used: it is a file, or lies below one.`,
    );
  });

  test.runIf(process.platform === 'linux').each(['/proc/posthorn', '/proc/posthorn/data', '/proc'])(
    '%s, where nothing can be made',
    async (impossible) => {
      await expect(startEmbeddedPostgres({ dataFolder: impossible })).rejects.toThrow(
        `POSTHORN_DATA "${impossible}" cannot be used: no folder can be made there.`,
      );
    },
  );
});

test('a server’s process id that another process has now does not stop a start', async () => {
  const cluster = join(dataFolder, 'postgres');
  const { uid, gid } = await stat(cluster);
  const other = spawn('sleep', ['60'], { cwd: '/', ...(process.getuid?.() === 0 ? { uid, gid } : {}) });
  children.push(other);
  await writeFile(join(cluster, 'postmaster.pid'), `${other.pid}\n${cluster}\n1\n1\n\n127.0.0.1\n0 0\nready\n`);
  await using postgres = await startEmbeddedPostgres({ dataFolder });
  expect(await query(postgres.url, 'select 1 as number')).toEqual([{ number: 1 }]);
  expect(isAlive(other.pid ?? 0)).toBe(true);
});
