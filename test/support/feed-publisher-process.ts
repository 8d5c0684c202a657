import { startRedisFeed } from '../../src/feed/redis-feed.ts';

// A process that publishes, until it is killed: `node feed-publisher-process.ts <Redis URL>` says when it is registered.

await startRedisFeed({ url: process.argv[2] ?? '', onError: () => undefined });
process.stdout.write('ready\n');
setInterval(() => undefined, 60_000);
