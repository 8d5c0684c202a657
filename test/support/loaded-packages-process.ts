import { registerHooks } from 'node:module';

// Preloaded into a process by `--import`: says on standard error which modules of OpenTelemetry are loaded.

registerHooks({
  load(url, context, nextLoad) {
    const [, name] = /\/node_modules\/(@opentelemetry\/[^/]+)\//.exec(url) ?? [];
    if (name !== undefined) process.stderr.write(`loaded ${name}\n`);
    return nextLoad(url, context);
  },
});
