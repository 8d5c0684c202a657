import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import type { MetricFamily } from './exposition.ts';

// What the alert rules and the dashboard ask Prometheus, and whether it is there to be asked.

const folder = new URL('../../src/metrics/', import.meta.url);

export interface AlertRule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string };
  annotations: { summary: string; description: string };
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  datasource?: { type: string; uid: string };
  gridPos: { h: number; w: number; x: number; y: number };
  targets?: { refId: string; expr: string; legendFormat: string; datasource: { type: string; uid: string } }[];
}

export interface Dashboard {
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: { name: string; type: string; query: unknown; definition?: string }[] };
  panels: Panel[];
}

export async function readAlertGroups(): Promise<{ name: string; rules: AlertRule[] }[]> {
  const text = await readFile(new URL('alerts.yml', folder), 'utf8');
  return (parse(text, { uniqueKeys: true }) as { groups: { name: string; rules: AlertRule[] }[] }).groups;
}

export async function readDashboard(): Promise<Dashboard> {
  return JSON.parse(await readFile(new URL('dashboard.json', folder), 'utf8')) as Dashboard;
}

/** Every expression, by where it stands. */
export async function listExpressions(): Promise<Map<string, string>> {
  const groups = await readAlertGroups();
  const { panels, templating } = await readDashboard();
  return new Map([
    ...groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const)),
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }) => [`panel "${title}" ${refId}`, expr] as const),
    ),
    ...templating.list
      .filter(({ type }) => type === 'query')
      .map(({ name, definition = '' }) => [`variable ${name}`, definition] as const),
  ]);
}

/** Labels that Prometheus adds to whatever it reads. */
const targetLabels = ['job', 'instance'];
const metricShape = /\b((?:posthorn|process|nodejs)_\w+|up)\b(?:\{([^}]*)\})?/g;
const groupingShape = /\b(?:by|without|on|ignoring) *\(([^)]*)\)/g;

/** What an expression names that there is not: metrics, labels of theirs in selectors, and labels it groups by. */
export function missingFrom(families: ReadonlyMap<string, MetricFamily>, expression: string): string[] {
  const known = new Set(targetLabels);
  const missing = [...expression.matchAll(metricShape)].flatMap(([, name = '', matchers = '']) => {
    if (name === 'up') return [];
    const labels = labelsOf(families, name);
    if (labels === null) return [name];
    for (const label of labels) known.add(label);
    return labelsAsked(matchers)
      .filter((label) => !labels.has(label) && !targetLabels.includes(label))
      .map((label) => `${name}{${label}}`);
  });
  const grouped = [...expression.matchAll(groupingShape)].flatMap(([, list = '']) => list.split(','));
  const strange = grouped.map((label) => label.trim()).filter((label) => !known.has(label));
  return [...missing, ...strange.map((label) => `by ${label}`)];
}

function labelsAsked(matchers: string): string[] {
  return [...matchers.matchAll(/(\w+) *(?:=~|!~|!=|=) *"/g)].map(([, label = '']) => label);
}

/** The labels of a metric's samples; null when there is no sample of that name. */
function labelsOf(families: ReadonlyMap<string, MetricFamily>, name: string): Set<string> | null {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
  const samples = family?.samples.filter((sample) => sample.name === name) ?? [];
  return samples.length === 0 ? null : new Set(samples.flatMap(({ labels }) => Object.keys(labels)));
}
