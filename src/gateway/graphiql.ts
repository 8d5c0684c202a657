import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { createGunzip, gzip } from 'node:zlib';
import type { IncomingMessage, ServerResponse } from 'node:http';

const defaultQuery = `# Put your API key into the Headers tab below; the schema can be read without one.
# With the cursor on an operation, press Ctrl-Enter to run it.

query Webhooks {
  project {
    id
  }
  webhooks(first: 10) {
    nodes {
      id
      name
      url
      status
    }
  }
}

# Every delivery as it happens, over a WebSocket.
subscription Feed {
  deliveryFeed {
    cursor
    at
    change
    delivery {
      id
      status
      attemptCount
    }
    attempt {
      number
      responseStatus
      durationMs
    }
  }
}
`;

const options = {
  title: 'Posthorn GraphiQL',
  defaultQuery,
  headers: JSON.stringify({ authorization: 'Bearer <your API key>' }, null, 2),
  schemaDescription: true,
};

const headers = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-cache', // kept, and asked for again by its etag
  vary: 'accept, accept-encoding',
  'x-content-type-options': 'nosniff',
  // The page has all it needs in itself: no other host is asked for anything.
  'content-security-policy':
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline'; " +
    "img-src data: blob:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

interface Page {
  etag: string;
  /** Gzip: 9 MB are not kept twice. */
  compressed: Buffer;
}

/** Gives the function that answers with GraphiQL. The page is built at the first request and kept compressed. */
export function createGraphiql(): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  let building: Promise<Page> | null = null;
  return async (request, response) => {
    building ??= buildPage();
    const { etag, compressed } = await building;
    response.setHeaders(new Map(Object.entries({ ...headers, etag })));
    if (request.headers['if-none-match']?.split(/, */).includes(etag)) {
      response.writeHead(304).end();
    } else if (/\bgzip\b/.test(String(request.headers['accept-encoding']))) {
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': compressed.length });
      response.end(request.method === 'HEAD' ? undefined : compressed);
    } else {
      const plain = createGunzip();
      plain.pipe(response.writeHead(200));
      plain.end(compressed);
    }
  };
}

async function buildPage(): Promise<Page> {
  // Loaded here and not at the start: the module holds 9 MB of text that most gateways never serve.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const fetcher = await readFile(new URL('graphiql-fetcher.js', import.meta.url), 'utf8');
  const rendered = renderGraphiQL(options);
  const given = JSON.stringify(options);
  const headEnd = rendered.indexOf('</head>');
  const optionsStart = rendered.lastIndexOf(given);
  if (headEnd < 0 || optionsStart < headEnd) {
    throw new Error('GraphiQL is rendered differently than expected: there is no place for the fetcher');
  }
  const html = [
    rendered.slice(0, headEnd),
    `<style>html, body, #root { height: 100%; margin: 0; }</style><script>${fetcher}</script>`,
    rendered.slice(headEnd, optionsStart),
    `{ ...${given}, fetcher: posthornFetcher }`,
    rendered.slice(optionsStart + given.length),
  ].join('');
  const compressed = await promisify(gzip)(html, { level: 6 });
  return { compressed, etag: `"${createHash('sha256').update(compressed).digest('base64url')}"` };
}
