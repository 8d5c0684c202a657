import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');

/** Imports that break the order of the folders: the file, what it imports, and the rule that says so. */
const forbidden: readonly [file: string, imported: string, message: string][] = [
  ['src/domain/ids.ts', '../store/webhooks.ts', 'src/domain is pure'],
  ['src/domain/ids.ts', '../logger.ts', 'src/domain is pure'],
  ['src/domain/ids.ts', 'node:fs', 'src/domain is pure'],
  ['src/domain/ids.ts', 'pg', 'src/domain is pure'],
  ['src/store/webhooks.ts', '../feed/feed.ts', 'src/store imports only'],
  ['src/store/webhooks.ts', '../rate-limit/rate-limit.ts', 'src/store imports only'],
  ['src/store/webhooks.ts', '../queue.ts', 'src/store imports only'],
  ['src/store/webhooks.ts', '../../worker/deliver.ts', 'src/store imports only'],
  ['src/store/webhooks.ts', '../../schema/context.ts', 'src/store imports only'],
  ['src/feed/feed.ts', '../store/webhooks.ts', 'The feed, the rate limit and the queue import only'],
  ['src/rate-limit/rate-limit.ts', '../store/webhooks.ts', 'The feed, the rate limit and the queue import only'],
  ['src/tracing/tracer.ts', '../store/webhooks.ts', 'src/tracing imports only'],
  ['src/tracing/tracer.ts', '../config.ts', 'src/tracing imports only'],
  ['src/store/webhooks.ts', '../tracing/tracer.ts', 'src/store imports only'],
  ['src/queue.ts', './store/webhooks.ts', 'The feed, the rate limit and the queue import only'],
  ['worker/deliver.ts', '../schema/context.ts', 'worker imports only'],
  ['worker/deliver.ts', '../src/gateway/gateway.ts', 'worker imports only'],
  ['schema/webhook.ts', '../worker/deliver.ts', 'schema imports only'],
  ['schema/webhook.ts', '../src/queue.ts', 'schema imports only'],
  ['schema/webhook.ts', '../src/gateway/gateway.ts', 'schema imports only'],
  ['schema/webhook.ts', 'bullmq', 'schema imports only'],
  ['src/gateway/gateway.ts', '../../worker/deliver.ts', 'src/gateway imports'],
  ['src/gateway/gateway.ts', '../queue.ts', 'src/gateway imports'],
  ['src/gateway/gateway.ts', 'bullmq', 'src/gateway imports'],
];

/** Imports that point down. */
const allowed: readonly [file: string, imported: string][] = [
  ['src/domain/ids.ts', './event-type.ts'],
  ['src/domain/ids.ts', 'node:crypto'],
  ['src/store/webhooks.ts', '../domain/ids.ts'],
  ['src/store/webhooks.ts', 'pg'],
  ['src/feed/feed.ts', '../domain/ids.ts'],
  ['src/rate-limit/rate-limit.ts', '../domain/rate.ts'],
  ['src/tracing/tracer.ts', '../domain/trace-parent.ts'],
  ['src/queue.ts', 'bullmq'],
  ['worker/deliver.ts', '../src/store/webhooks.ts'],
  ['worker/deliver.ts', '../src/queue.ts'],
  ['worker/deliver.ts', '../src/tracing/tracer.ts'],
  ['worker/deliver.ts', '../src/feed/feed.ts'],
  ['worker/deliver.ts', '../src/rate-limit/rate-limit.ts'],
  ['schema/webhook.ts', '../src/store/webhooks.ts'],
  ['schema/webhook.ts', '../src/feed/feed.ts'],
  ['src/gateway/gateway.ts', '../../schema/context.ts'],
  ['src/gateway/gateway.ts', '../store/webhooks.ts'],
  ['src/gateway/gateway.ts', '../tracing/tracer.ts'],
];

/** A complaint of the linter. */
interface Diagnostic {
  filename: string;
  code: string;
  help?: string;
  message: string;
  labels: { span: { line: number } }[];
}

let folder: string;
/** What was said of the import rules, by `file import`. */
let refusals: Map<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'posthorn-folder-rules-'));
  await copyFile(path.join(root, '.oxlintrc.json'), path.join(folder, '.oxlintrc.json'));
  const imports = new Map<string, string[]>();
  for (const [file, imported] of [...forbidden, ...allowed]) {
    imports.set(file, [...(imports.get(file) ?? []), imported]);
  }
  for (const [file, imported] of imports) {
    await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
    // A type import is the one that a rule may be told to let through.
    const lines = imported.map((source, index) => `import type { Name${index} } from '${source}';\n`);
    await writeFile(path.join(folder, file), lines.join(''));
  }
  const diagnostics = (await lint(folder)).filter(({ code }) => code.includes('no-restricted-imports'));
  refusals = new Map(
    diagnostics.map(({ filename, labels, help, message }) => {
      const imported = imports.get(filename)?.[(labels[0]?.span.line ?? 0) - 1];
      return [`${filename} ${imported}`, `${message} ${help ?? ''}`];
    }),
  );
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function lint(cwd: string): Promise<Diagnostic[]> {
  const oxlint = path.join(root, 'node_modules/oxlint/bin/oxlint');
  const output = await new Promise<string>((resolve, reject) => {
    execFile(process.execPath, [oxlint, '--format', 'json'], { cwd, timeout: 20_000 }, (error, stdout, stderr) => {
      // Its exit code is 1 when it has found something.
      if (error !== null && error.code !== 1) reject(new Error(`oxlint failed: ${stderr}`, { cause: error }));
      else resolve(stdout);
    });
  });
  return JSON.parse(output).diagnostics;
}

test.for(forbidden)('%s may not import %s', ([file, imported, message]) => {
  expect(refusals.get(`${file} ${imported}`)).toContain(message);
});

test.for(allowed)('%s may import %s', ([file, imported]) => {
  expect(refusals.size).toBeGreaterThan(0);
  expect(refusals.get(`${file} ${imported}`)).toBeUndefined();
});
