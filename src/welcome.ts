import type { DemoFacts } from './demo-project.ts';

/** What `posthorn start` prints when it is ready: where it is, the key, and three calls to try. */
export function welcomeText(facts: DemoFacts, stack: { databaseUrl: unknown; dataFolder: string }): string {
  const { graphqlUrl, websocketUrl, apiKey } = facts;
  const call = (query: string, options = '-s', header = ''): string =>
    `curl ${options} ${graphqlUrl} -H 'content-type: application/json' -H 'authorization: Bearer ${apiKey}'${header} -d '${JSON.stringify({ query })}'`;
  const createWebhook =
    'mutation { createWebhook(input: { name: "First", url: "http://127.0.0.1:9000/" }) { webhook { id } secret userErrors { message } } }';
  const emitEvent =
    'mutation { emitEvent(input: { type: "config.deployed", data: { version: 1 } }) { event { id } deliveryCount userErrors { message } } }';
  const subscribe =
    'subscription { deliveryFeed { cursor change delivery { status } attempt { number responseStatus durationMs } } }';
  return `Posthorn is ready.

  GraphQL and GraphiQL  ${graphqlUrl}
  WebSocket             ${websocketUrl}  (graphql-transport-ws)
  API key               ${apiKey}
  Data                  ${stack.databaseUrl === null ? `embedded PostgreSQL in ${stack.dataFolder}` : 'your PostgreSQL'}

Try it:

1. Create a webhook (the secret is shown once):
   ${call(createWebhook)}

2. Watch the feed:
   ${call(subscribe, '-sN', " -H 'accept: text/event-stream'")}

3. Emit an event:
   ${call(emitEvent)}

Ctrl-C stops everything. \`npm run demo\` shows it all at work.
`;
}
