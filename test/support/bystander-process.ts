import { Client } from 'undici';

// Asks a gateway one small question after the other, in a process of its own: what it measures is the gateway, not who
// attacks it. Told `report`, it says how long each took since the report before.

const { GRAPHQL_URL = '', API_KEY = '' } = process.env;
const { origin, pathname: path } = new URL(GRAPHQL_URL);
const client = new Client(origin);
const headers = { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}` };
const body = JSON.stringify({ query: '{ project { id } }' });
let timesMs: number[] = [];

process.on('message', () => {
  process.send?.(timesMs);
  timesMs = [];
});
process.on('disconnect', () => process.exit());

for (;;) {
  const startedAt = performance.now();
  const answer = await client.request({ path, method: 'POST', headers, body });
  const text = await answer.body.text();
  if (answer.statusCode !== 200 || text.includes('"errors"')) throw new Error(`${answer.statusCode}: ${text}`);
  timesMs.push(performance.now() - startedAt);
}
