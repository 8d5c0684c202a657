import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { parsePrivateKey, privateKeyText, publicKeyText } from '../../src/domain/asymmetric-key.ts';
import { secretText, signatureHeaders } from '../../src/domain/signature.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** Runs the README's receiver and gives where it listens. */
async function startReadmeReceiver(secret: string): Promise<{ url: string } & AsyncDisposable> {
  const readme = await readFile(path.join(root, 'README.md'), 'utf8');
  const code = /^```js\n(.*?)^```$/ms.exec(readme)?.[1] ?? '';
  const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: root,
    env: { PATH: process.env['PATH'], PORT: '0', WEBHOOK_SECRET: secret },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  const port = await new Promise<string>((resolve, reject) => {
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      const found = /listening on (\d+)\n/.exec(printed)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.once('close', (status) => reject(new Error(`the README's receiver ended with ${status}`)));
  });
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await closed;
    },
  };
}

test("the README's receiver takes what Posthorn signs and refuses what was altered", async () => {
  const secret = randomBytes(32);
  await using receiver = await startReadmeReceiver(secretText(secret));
  const body = JSON.stringify({ id: 'evt_1', type: 'config.deployed', data: { version: 1 } });
  const timestampSeconds = Math.floor(Date.now() / 1000);
  const headers = {
    'webhook-id': 'evt_1',
    'webhook-timestamp': String(timestampSeconds),
    ...signatureHeaders(
      'STANDARD_WEBHOOKS',
      { messageId: 'evt_1', timestampSeconds, body },
      { secrets: [secret], asymmetricKeys: [] },
      'posthorn',
    ),
  };
  const genuine = await fetch(receiver.url, { method: 'POST', headers, body });
  const altered = await fetch(receiver.url, { method: 'POST', headers, body: body.replace('1', '2') });
  expect([genuine.status, altered.status]).toEqual([204, 401]);
});

test("the README's receiver is saved where git, formatter and linter pass over it, and started from there", async () => {
  const readme = await readFile(path.join(root, 'README.md'), 'utf8');
  const ignored = (await readFile(path.join(root, '.gitignore'), 'utf8')).split('\n');
  const [, file = ''] = /^WEBHOOK_SECRET=whsec_… node (\S+\.mjs)$/m.exec(readme) ?? [];
  expect(ignored).toContain(`${path.dirname(file)}/`);
  expect(readme).toContain(`saved as \`${file}\``);
});

type IsGenuine = (body: string, headers: Record<string, string>, publicKeys: readonly string[]) => boolean;

/** The README's way to verify asymmetric signatures. */
async function loadReadmeVerifier(): Promise<IsGenuine> {
  const readme = await readFile(path.join(root, 'README.md'), 'utf8');
  const code = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
  const module = (await import(`data:text/javascript,${encodeURIComponent(code[1] ?? '')}`)) as {
    isGenuine: IsGenuine;
  };
  return module.isGenuine;
}

test("the README's verifier of v1a takes what either key of a rotation signed, and nothing altered, foreign, old or bare", async () => {
  const isGenuine = await loadReadmeVerifier();
  const [newer, older, foreign] = [1, 2, 3].map(() => parsePrivateKey(privateKeyText(randomBytes(32))));
  if (newer === undefined || older === undefined || foreign === undefined) throw new Error('no keys');
  const body = '{"data":"wörld"}';
  const signedAt = (timestampSeconds: number) => ({
    'webhook-id': 'evt_1',
    'webhook-timestamp': String(timestampSeconds),
    ...signatureHeaders(
      'STANDARD_WEBHOOKS',
      { messageId: 'evt_1', timestampSeconds, body },
      { secrets: [randomBytes(32)], asymmetricKeys: [newer, older] },
      'posthorn',
    ),
  });
  const nowSeconds = Math.floor(Date.now() / 1000);
  const headers = signedAt(nowSeconds);
  for (const key of [newer, older]) expect(isGenuine(body, headers, [publicKeyText(key)])).toBe(true);
  expect(isGenuine(body, headers, [foreign, older].map(publicKeyText))).toBe(true);
  expect(isGenuine(body, headers, [publicKeyText(foreign)])).toBe(false);
  expect(isGenuine(`${body} `, headers, [publicKeyText(newer)])).toBe(false);
  expect(isGenuine(body, { ...headers, 'webhook-id': 'evt_2' }, [publicKeyText(newer)])).toBe(false);
  expect(isGenuine(body, signedAt(nowSeconds - 400), [publicKeyText(newer)])).toBe(false);
  expect(isGenuine(body, {}, [publicKeyText(newer)])).toBe(false);
});
