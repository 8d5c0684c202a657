import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { startBenchStack } from './bench-stack.ts';
import { runDeliver } from './deliver.ts';
import { runEmit } from './emit.ts';
import { runFeed } from './feed.ts';
import { runHistory } from './history.ts';
import { runIsolation } from './isolation.ts';
import { runLatency } from './latency.ts';
import { machineFacts } from './machine.ts';
import { runQuery } from './query.ts';
import { runSoak } from './soak.ts';
import { runSteady } from './steady.ts';
import type { BenchRun, ScenarioResult } from './compare.ts';

// `npm run bench -- [deliver|latency|isolation|emit|history|query|feed|soak|steady …]`: what Posthorn can do on this machine, as ratios to
// what was measured beside it in the same run. Every scenario is bounded, runs its variants in turn, and checks that received =
// accepted = recorded: what does not add up is printed at the end, and the exit code is 1.

const scenarios: Record<string, (run: BenchRun) => Promise<ScenarioResult[]>> = {
  deliver: runDeliver,
  latency: runLatency,
  isolation: runIsolation,
  emit: runEmit,
  history: runHistory,
  feed: runFeed,
  query: runQuery,
  soak: runSoak,
  steady: runSteady,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    quick: { type: 'boolean', default: false },
    repeats: { type: 'string' },
    rate: { type: 'string' },
    minutes: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => !(name in scenarios));
if (unknown.length > 0)
  throw new Error(`no scenario ${unknown.join(', ')}: there is ${Object.keys(scenarios).join(', ')}`);
/** Half an hour of its own: only when it is asked for. */
const long = new Set(['steady']);
const chosen = positionals.length === 0 ? Object.keys(scenarios).filter((name) => !long.has(name)) : positionals;

await using stack = await startBenchStack();
// Without this an interrupted run would leave its databases behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void endEarly());
}
const machine = await machineFacts(stack.versions);
process.stdout.write(`${JSON.stringify(machine, null, 2)}\n`);
const run: BenchRun = {
  stack,
  quick: values.quick,
  repeatCount: Number(values.repeats ?? (values.quick ? 1 : 3)),
  ratePerSecond: values.rate === undefined ? null : Number(values.rate),
  minutes: values.minutes === undefined ? null : Number(values.minutes),
};
const results: Record<string, ScenarioResult[]> = {};
const startedAt = performance.now();
for (const name of chosen) results[name] = await runScenario(name);
const seconds = Math.round((performance.now() - startedAt) / 1000);
process.stdout.write(`\nTook ${seconds} s.\n`);
const problems = Object.values(results).flatMap((list) => list.flatMap((result) => result.problems));
if (values.json !== undefined) {
  await writeFile(
    values.json,
    `${JSON.stringify({ machine, quick: run.quick, seconds, problems, results }, null, 2)}\n`,
  );
}
for (const problem of problems) process.stdout.write(`WRONG: ${problem}\n`);
if (problems.length > 0) process.exitCode = 1;

/** A scenario that breaks is a problem of its own, and does not take the figures of the others with it. */
async function runScenario(name: string): Promise<ScenarioResult[]> {
  try {
    return (await scenarios[name]?.(run)) ?? [];
  } catch (error) {
    return [
      { title: name, rows: [], problems: [`${name}: ${error instanceof Error ? error.message : String(error)}`] },
    ];
  }
}

async function endEarly(): Promise<void> {
  await stack[Symbol.asyncDispose]();
  process.exit(130);
}
