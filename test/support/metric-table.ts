import { readFile } from 'node:fs/promises';

/** A row of the README's table of metrics. */
export interface MetricRow {
  name: string;
  type: string;
  labels: string[];
}

/** Reads the README's table of metrics. */
export async function readMetricTable(): Promise<MetricRow[]> {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const section = /<!-- metrics:.*?-->(.*)<!-- \/metrics -->/s.exec(readme)?.[1] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  return rows.map((row) => {
    const [, name = '', type = '', labels = ''] = row.split('|').map((cell) => cell.trim());
    return { name: name.replaceAll('`', ''), type, labels: labels === '' ? [] : labels.split(', ') };
  });
}
