import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import type { Browser } from 'playwright-core';

// A real browser without a window. Playwright's own download is not used: the browser is the machine's.

const installLimitMs = 300_000;
const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const applications = [
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** Starts Chromium; installs it first when it is missing and may be installed. Disposal closes it. */
export async function startChromium(): Promise<{ browser: Browser } & AsyncDisposable> {
  const browser = await chromium.launch({
    executablePath: findCommand() ?? (await install()),
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
  });
  return { browser, [Symbol.asyncDispose]: async () => await browser.close() };
}

function findCommand(): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'];
  const paths = folders.flatMap((folder) => names.map((name) => join(folder, name)));
  return [...paths, ...applications].find((path) => existsSync(path)) ?? null;
}

/** Installs the Debian package; test files that start at the same time wait for one installation. */
async function install(): Promise<string> {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version') || !existsSync('/usr/bin/apt-get')) {
    throw new Error('these tests need Chromium: install it (apt-get install chromium, brew install chromium)');
  }
  const script = 'command -v chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }';
  await promisify(execFile)('flock', [join(tmpdir(), 'posthorn-chromium-install.lock'), 'sh', '-c', script], {
    timeout: installLimitMs,
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  const command = findCommand();
  if (command === null) throw new Error('Chromium was installed but is not in the PATH');
  return command;
}
