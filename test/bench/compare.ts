import { watchForeignCpu } from './machine.ts';
import { median } from './quantile.ts';
import { printTable, shown } from './table.ts';
import type { BenchStack } from './bench-stack.ts';

/** What every scenario is given. */
export interface BenchRun {
  stack: BenchStack;
  /** Smaller and shorter, to see that it works. */
  quick: boolean;
  /** How often each variant runs, in turn with the others. */
  repeatCount: number;
  /** Events per second of `latency` and `steady`; null takes their own. */
  ratePerSecond: number | null;
  /** How long `steady` goes on; null takes its own. */
  minutes: number | null;
}

/** What one run of a variant gave, by name; the unit is the end of the name. */
export type Figures = Record<string, number>;

/** What a run found, and what did not add up in it. */
export interface Measured {
  figures: Figures;
  problems: string[];
}

/** One of the things that are compared. */
export interface Variant {
  name: string;
  /** The variant that its ratio is to; absent for what is a ceiling or a baseline itself. */
  against?: string;
  goal?: Goal;
  run: () => Promise<Measured>;
}

/** What a variant should reach, judged on its medians. */
export interface Goal {
  text: string;
  isReached: (figures: Figures, ratio: number) => boolean;
}

/** A variant's runs. */
export interface ComparedRow {
  name: string;
  runs: Figures[];
  median: Figures;
  /** Of each repeat's figure to the other variant's in the same repeat. */
  ratio: { against: string; median: number; min: number; max: number } | null;
  goal: { text: string; reached: boolean } | null;
}

/** What a scenario leaves behind. A problem means that the figures are worth nothing. */
export interface ScenarioResult {
  title: string;
  rows: readonly object[];
  problems: string[];
}

export interface Comparison {
  title: string;
  /** The figure that ratios are of. */
  ratioOf: string;
  repeatCount: number;
  variants: readonly Variant[];
}

/** Runs the variants in turn, A B A B, prints what they gave as a table, and gives it. */
export async function compare({ title, ratioOf, repeatCount, variants }: Comparison): Promise<ScenarioResult> {
  const runs = new Map(variants.map(({ name }): [string, Figures[]] => [name, []]));
  const problems: string[] = [];
  for (let repeat = 1; repeat <= repeatCount; repeat += 1) {
    for (const variant of variants) {
      process.stderr.write(`${title}: ${variant.name} (${repeat}/${repeatCount})\n`);
      const { figures, problems: found } = await measure(variant);
      runs.get(variant.name)?.push(figures);
      problems.push(...found.map((problem) => `${title}: ${variant.name}, repeat ${repeat}: ${problem}`));
    }
  }
  const rows = variants.map((variant) => rowOf(variant, runs, ratioOf));
  printTable(`${title} (medians of ${repeatCount}; ratio of ${ratioOf})`, rows.map(cellsOf));
  return { title, rows, problems };
}

/** A variant that breaks is a problem of its own, and does not take the figures of the others with it. */
async function measure(variant: Variant): Promise<Measured> {
  const foreignCpu = await watchForeignCpu();
  try {
    const { figures, problems } = await variant.run();
    return { figures: { ...figures, foreignCpu: await foreignCpu() }, problems };
  } catch (error) {
    return { figures: {}, problems: [error instanceof Error ? error.message : String(error)] };
  }
}

function rowOf(variant: Variant, runs: ReadonlyMap<string, Figures[]>, ratioOf: string): ComparedRow {
  const { name, against, goal } = variant;
  const own = runs.get(name) ?? [];
  const names = new Set(own.flatMap((figures) => Object.keys(figures)));
  const medians = Object.fromEntries([...names].map((key) => [key, median(valuesOf(own, key))]));
  const others = against === undefined ? [] : valuesOf(runs.get(against) ?? [], ratioOf);
  const ratios = valuesOf(own, ratioOf).map((value, index) => value / (others[index] ?? Number.NaN));
  const ratio =
    against === undefined
      ? null
      : { against, median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) };
  const reached = goal?.isReached(medians, ratio?.median ?? Number.NaN) ?? false;
  return { name, runs: own, median: medians, ratio, goal: goal === undefined ? null : { text: goal.text, reached } };
}

function valuesOf(runs: readonly Figures[], key: string): number[] {
  return runs.map((figures) => figures[key] ?? Number.NaN);
}

function cellsOf({ name, median: medians, ratio, goal }: ComparedRow): Record<string, string | number> {
  return {
    '': name,
    ...medians,
    ...(ratio === null ? {} : { ratio: ratio.median, 'ratio min–max': `${shown(ratio.min)}–${shown(ratio.max)}` }),
    ...(goal === null ? {} : { goal: `${goal.text}: ${goal.reached ? 'reached' : 'missed'}` }),
  };
}
