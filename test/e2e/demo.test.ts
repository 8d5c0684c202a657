import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebhookCountDocument } from '../generated/graphql.ts';
import { createApiClient } from '../support/e2e-client.ts';
import { createDataFolder, runPosthorn, startPosthorn } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';

/** What the demo's script comes to: see src/demo/demo-script.ts. */
const summary = [
  'Events      5 emitted',
  'Deliveries  9 of 9 delivered',
  'Attempts    15, of which 6 failed and were retried',
  'Signatures  15 of 15 verified by the standardwebhooks package',
].join('\n');

function expectWholeDemo(output: string): void {
  expect(output).toContain(summary);
  const lines = output.split('\n');
  const retries = lines.filter((line) =>
    /RETRY_SCHEDULED +config\.\w+ +Deploys +attempt [12] +500 +\d+ ms +next try in \d\.\d s$/.test(line),
  );
  expect(retries).toHaveLength(6);
  const thirdTries = lines.filter((line) => /DELIVERED +config\.\w+ +Deploys +attempt 3 +204 +\d+ ms$/.test(line));
  expect(thirdTries).toHaveLength(3);
  const slow = lines.filter((line) => /DELIVERED +user\.invited +People +attempt 1 +204 +\d{3} ms$/.test(line));
  expect(slow).toHaveLength(1);
}

describe('posthorn demo', () => {
  test('starts a Posthorn of its own where none runs, shows the retries live, and stops it again', async () => {
    await using folder = await createDataFolder();
    const demo = runPosthorn(['demo'], { POSTHORN_DATA: folder.path });
    const ended = await demo.ended;
    expect({ ...ended, output: demo.output() }).toEqual({ code: 0, signal: null, output: expect.any(String) });
    expect(demo.output()).toContain('Started a Posthorn for this demo');
    expect(demo.output()).toBe(stripVTControlCharacters(demo.output())); // no colours off a terminal
    expectWholeDemo(demo.output());
    const { graphqlUrl } = JSON.parse(await readFile(path.join(folder.path, 'demo.json'), 'utf8'));
    await expect(fetch(graphqlUrl)).rejects.toThrow('fetch failed');
  });
});

describe('posthorn demo beside a running Posthorn', () => {
  let posthorn: Posthorn;

  beforeAll(async () => {
    posthorn = await startPosthorn();
  });

  afterAll(async () => {
    await posthorn[Symbol.asyncDispose]();
  });

  async function webhookCount(): Promise<unknown> {
    await using client = createApiClient(posthorn, posthorn.apiKey);
    return (await client.run(WebhookCountDocument, {})).webhooks.totalCount;
  }

  test('uses that one, and deletes its webhooks there', async () => {
    const demo = runPosthorn(['demo'], { POSTHORN_DATA: posthorn.dataFolder });
    const ended = await demo.ended;
    expect({ ...ended, output: demo.output() }).toEqual({ code: 0, signal: null, output: expect.any(String) });
    expect(demo.output()).toContain(`Using the Posthorn that is running: ${posthorn.graphqlUrl}`);
    expectWholeDemo(demo.output());
    expect(await webhookCount()).toBe(0);
  });

  test('deletes its webhooks when it is stopped half way too, and says that it was stopped', async () => {
    const demo = runPosthorn(['demo'], { POSTHORN_DATA: posthorn.dataFolder });
    let asked = false; // a second signal would end it at once
    demo.process.stdout?.on('data', () => {
      if (asked || !demo.output().includes('RETRY_SCHEDULED')) return;
      asked = true;
      demo.process.kill('SIGTERM');
    });
    const ended = await demo.ended;
    expect({ ...ended, output: demo.output() }).toEqual({
      code: 1,
      signal: null,
      output: expect.stringContaining('posthorn: the demo was stopped'),
    });
    expect(demo.output()).not.toContain('Signatures');
    expect(await webhookCount()).toBe(0);
  });
});
