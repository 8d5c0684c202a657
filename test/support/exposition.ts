/** A metric family as Prometheus reads it. */
export interface MetricFamily {
  name: string;
  help: string;
  type: string;
  samples: MetricSample[];
}

export interface MetricSample {
  /** With `_bucket`, `_sum` or `_count` where the family is a histogram. */
  name: string;
  labels: Record<string, string>;
  value: number;
}

const name = '[a-zA-Z_:][a-zA-Z0-9_:]*';
/** What follows is any text of a help, and of a type one that Posthorn has. */
const commentShape = new RegExp(`^# (HELP|TYPE) (${name}) ((?<=HELP .*).+|(?:counter|gauge|histogram))$`);
const sampleShape = new RegExp(`^(${name})(?:\\{(.*)\\})? ([^ ]+)$`);
const labelShape = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;
const suffixes: Record<string, readonly string[]> = { histogram: ['_bucket', '_sum', '_count'] };

/**
 * Reads the text format of Prometheus, strictly: every family has its help and type once, before its samples, and no sample
 * comes twice. Throws what is wrong with the line. Source: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function parseExposition(text: string): Map<string, MetricFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, MetricFamily>();
  const seen = new Set<string>();
  let family: MetricFamily | null = null;
  for (const line of text.split('\n').filter((each) => each !== '')) {
    if (line.startsWith('#')) family = readComment(line, families);
    else addSample(line, family, seen);
  }
  for (const { name: of, type, help } of families.values()) {
    if (type === '' || help === '') throw new Error(`${of} has no type or no help`);
  }
  return families;
}

/** Every family of several expositions, with all their samples. */
export function mergeFamilies(expositions: readonly Map<string, MetricFamily>[]): Map<string, MetricFamily> {
  const merged = new Map<string, MetricFamily>();
  for (const family of expositions.flatMap((families) => [...families.values()])) {
    const known = merged.get(family.name);
    if (known === undefined) merged.set(family.name, { ...family, samples: [...family.samples] });
    else known.samples.push(...family.samples);
  }
  return merged;
}

/** The sum of the family's samples that have these labels; 0 when there is none. */
export function sumOf(families: Map<string, MetricFamily>, of: string, labels: Record<string, string> = {}): number {
  const family = families.get(of) ?? families.get(of.replace(/_(bucket|sum|count)$/, ''));
  if (family === undefined) throw new Error(`there is no metric ${of}`);
  return family.samples
    .filter((sample) => sample.name === of)
    .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
    .reduce((sum, { value }) => sum + value, 0);
}

function addSample(line: string, family: MetricFamily | null, seen: Set<string>): void {
  const sample = readSample(line);
  if (family === null || !belongs(sample, family)) throw new Error(`no help and type stand before: ${line}`);
  const labels = Object.entries(sample.labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  const key = `${sample.name} ${labels.toSorted().join()}`;
  if (seen.has(key)) throw new Error(`the sample comes twice: ${line}`);
  seen.add(key);
  family.samples.push(sample);
}

function readComment(line: string, families: Map<string, MetricFamily>): MetricFamily {
  const [, kind, of = '', rest = ''] = commentShape.exec(line) ?? [];
  if (kind === undefined) throw new Error(`neither help nor a known type: ${line}`);
  const family = families.get(of) ?? { name: of, help: '', type: '', samples: [] };
  const field = kind === 'HELP' ? 'help' : 'type';
  if (family[field] !== '') throw new Error(`the ${field} of ${of} comes twice`);
  if (family.samples.length > 0) throw new Error(`the ${field} of ${of} comes after samples`);
  family[field] = rest;
  families.set(of, family);
  return family;
}

function belongs(sample: MetricSample, { name: of, type }: MetricFamily): boolean {
  return (suffixes[type] ?? ['']).some((suffix) => sample.name === `${of}${suffix}`);
}

function readSample(line: string): MetricSample {
  const [, of, labels = '', text = ''] = sampleShape.exec(line) ?? [];
  if (of === undefined) throw new Error(`not a sample: ${line}`);
  return { name: of, labels: readLabels(labels, line), value: readValue(text, line) };
}

function readLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  labelShape.lastIndex = 0;
  while (labelShape.lastIndex < text.length) {
    const [, label, value = ''] = labelShape.exec(text) ?? [];
    if (label === undefined || label in labels) throw new Error(`labels cannot be read: ${line}`);
    labels[label] = value;
  }
  return labels;
}

/** As Go's ParseFloat: case does not matter in NaN. */
function readValue(text: string, line: string): number {
  if (/^nan$/i.test(text)) return Number.NaN;
  const value = text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
  if (Number.isNaN(value)) throw new Error(`not a number: ${line}`);
  return value;
}
