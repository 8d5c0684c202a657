import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { startChromium } from '../support/chromium.ts';
import { createWebhook, emit } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { startPosthorn } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';
import { startReceiver } from '../support/receiver.ts';

const pageLimitMs = 30_000;

describe('GraphiQL in a browser', () => {
  let posthorn: Posthorn;
  let client: ApiClient;
  let chromium: { browser: Browser } & AsyncDisposable;

  beforeAll(async () => {
    [posthorn, chromium] = await Promise.all([startPosthorn(), startChromium()]);
    client = createApiClient(posthorn, posthorn.apiKey);
  }, 300_000); // the browser may have to be installed

  afterAll(async () => {
    await chromium[Symbol.asyncDispose]();
    await client[Symbol.asyncDispose]();
    await posthorn[Symbol.asyncDispose]();
  });

  test('opens at /graphql without asking any other host, and runs a subscription with the key of the headers tab', async () => {
    await using receiver = await startReceiver();
    const { webhook, eventType } = await createWebhook(client, 'Seen in the browser', { url: receiver.url });
    const page = await openPage(chromium.browser);
    const subscription = `subscription { deliveryFeed(filter: { webhookIds: ["${webhook.id}"] }) { change webhook { name } attempt { responseStatus } } }`;
    await page.open(`${posthorn.graphqlUrl}?query=${encodeURIComponent(subscription)}`);
    await page.setHeaders({ authorization: `Bearer ${posthorn.apiKey}` });
    await page.execute();
    // A subscription says nothing before its first item, so there are events until one is seen.
    const shown = await untilFound(
      'an item in the page',
      async () => {
        await emit(client, eventType);
        const text = await page.response();
        return text.includes('DELIVERED') ? text : null;
      },
      pageLimitMs,
    );
    expect(JSON.parse(shown)).toEqual({
      data: {
        deliveryFeed: {
          change: 'DELIVERED',
          webhook: { name: 'Seen in the browser' },
          attempt: { responseStatus: 200 },
        },
      },
    });
    expect(page.troubles).toEqual([]);
    expect(new Set(page.hosts)).toEqual(new Set([new URL(posthorn.graphqlUrl).host]));
  });

  test('shows why a subscription without a valid key does not run', async () => {
    const page = await openPage(chromium.browser);
    await page.open(`${posthorn.graphqlUrl}?query=${encodeURIComponent('subscription { deliveryFeed { change } }')}`);
    await page.setHeaders({});
    await page.execute();
    const shown = await untilFound(
      'an error in the page',
      async () => {
        const text = await page.response();
        return text.includes('errors') ? text : null;
      },
      pageLimitMs,
    );
    expect(shown).toContain('UNAUTHENTICATED');
  });
});

interface GraphiqlPage {
  /** Hosts of all requests and sockets so far. */
  hosts: string[];
  /** What the page threw, logged as an error, or could not load. */
  troubles: string[];
  open(url: string): Promise<void>;
  /** Writes the headers editor. */
  setHeaders(headers: Record<string, string>): Promise<void>;
  execute(): Promise<void>;
  /** The text of the response pane. */
  response(): Promise<string>;
}

async function openPage(browser: Browser): Promise<GraphiqlPage> {
  const page = await browser.newPage();
  page.setDefaultTimeout(pageLimitMs);
  const hosts: string[] = [];
  const troubles: string[] = [];
  const note = (url: string): void => {
    if (!/^(blob|data):/.test(url)) hosts.push(new URL(url).host);
  };
  page.on('request', (request) => note(request.url()));
  page.on('websocket', (socket) => note(socket.url()));
  page.on('requestfailed', (request) => troubles.push(`${request.url()} failed`));
  page.on('pageerror', (error) => troubles.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') troubles.push(message.text());
  });
  return {
    hosts,
    troubles,
    open: async (url) => {
      await page.goto(url);
      await page.locator('.graphiql-query-editor .view-lines').waitFor();
    },
    setHeaders: async (headers) => await writeEditor(page, JSON.stringify(headers)),
    execute: async () => await page.getByRole('button', { name: /^Execute query/ }).click(),
    response: async () => await textOf(page, '.result-window .view-lines'),
  };
}

async function writeEditor(page: Page, text: string): Promise<void> {
  const tab = page.getByRole('button', { name: 'Headers', exact: true });
  if (!(await tab.getAttribute('class'))?.includes('active')) await tab.click();
  const editor = page.locator('.graphiql-editor-tool .view-lines:visible');
  await editor.click();
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.insertText(text);
  // The editor closes the last quote and bracket that it thinks open: what stands behind the text goes.
  await page.keyboard.press('Control+Shift+End');
  await page.keyboard.press('Delete');
  await untilFound('the headers to be written', async () => {
    const written = await textOf(page, '.graphiql-editor-tool .view-lines:visible');
    return written.replaceAll(/\s/g, '') === text.replaceAll(/\s/g, '') ? true : null;
  });
}

/** The text of an editor, with the blanks that it draws as no-break spaces made ordinary. */
async function textOf(page: Page, selector: string): Promise<string> {
  const [text = ''] = await page.locator(selector).allInnerTexts();
  return text.replaceAll('\u00a0', ' ');
}
