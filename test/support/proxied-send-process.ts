import { createSender } from '../../worker/send.ts';
import { dispatchTo } from './dispatch.ts';

// Fetches the URL with Node's own client and sends to it with the sender, and says on stdout what each got. A test
// starts it with the environment that makes Node's client use a proxy.

const [url = ''] = process.argv.slice(2);
const fetched = await (await fetch(url)).text();
await using sender = createSender({
  brand: 'posthorn',
  version: '1',
  attemptTimeoutMs: 5000,
  allowedCidrs: ['127.0.0.0/8'],
  lookup: async () => await Promise.resolve([{ address: '127.0.0.1', family: 4 }]),
});
const signal = new AbortController().signal;
const sent = await sender.send(dispatchTo(url), signal);
const secure = await sender.send(dispatchTo(url.replace('http:', 'https:')), signal);
const inside = await sender.send(dispatchTo('http://10.0.0.1/'), signal);
process.stdout.write(
  JSON.stringify({
    fetched,
    sent: sent.response?.body ?? sent.errorMessage,
    secure: secure.errorCode,
    inside: inside.errorCode,
  }),
);
