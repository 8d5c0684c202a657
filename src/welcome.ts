import type { Config } from './config.ts';
import type { DemoFacts } from './demo-project.ts';

/** What of the settings the text depends on. */
export type WelcomeConfig = Pick<Config, 'databaseUrl' | 'dataFolder' | 'introspection' | 'persistedOperations'>;

/** What `posthorn start` prints when it is ready: where it is, the key, and three calls to try where any may be made. */
export function welcomeText(facts: DemoFacts, config: WelcomeConfig): string {
  const { graphqlUrl, websocketUrl, apiKey } = facts;
  const isOpen = config.persistedOperations === null;
  return `Posthorn is ready.

  ${isOpen && config.introspection ? 'GraphQL and GraphiQL ' : 'GraphQL              '} ${graphqlUrl}
  WebSocket             ${websocketUrl}  (graphql-transport-ws)
  API key               ${apiKey}
  Data                  ${config.databaseUrl === null ? `embedded PostgreSQL in ${config.dataFolder}` : 'your PostgreSQL'}

${isOpen ? callsToTry(facts) : 'It executes the operations of POSTHORN_PERSISTED_OPERATIONS and no others.\n'}
Ctrl-C stops everything. \`npm run demo\` shows it all at work.
`;
}

function callsToTry({ graphqlUrl, apiKey }: DemoFacts): string {
  const call = (query: string, options = '-s', header = ''): string =>
    `curl ${options} ${graphqlUrl} -H 'content-type: application/json' -H 'authorization: Bearer ${apiKey}'${header} -d '${JSON.stringify({ query })}'`;
  const createWebhook =
    'mutation { createWebhook(input: { name: "First", url: "http://127.0.0.1:9000/" }) { webhook { id } secret userErrors { message } } }';
  const emitEvent =
    'mutation { emitEvent(input: { type: "config.deployed", data: { version: 1 } }) { event { id } deliveryCount userErrors { message } } }';
  const subscribe =
    'subscription { deliveryFeed { cursor change delivery { status } attempt { number responseStatus durationMs } } }';
  return `Try it:

1. Create a webhook (the secret is shown once):
   ${call(createWebhook)}

2. Watch the feed:
   ${call(subscribe, '-sN', " -H 'accept: text/event-stream'")}

3. Emit an event:
   ${call(emitEvent)}
`;
}
