/** A number as a table shows it: three digits that count, ∞ for what never came, – for what was not measured. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return value === Number.POSITIVE_INFINITY ? '∞' : '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-GB');
  return String(Number(value.toPrecision(3)));
}

/** Prints rows as a Markdown table; the columns are those that any row has, numbers stand to the right. */
export function printTable(title: string, rows: readonly Record<string, string | number>[]): void {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const texts = rows.map((row) => columns.map((column) => textOf(row[column])));
  const widths = columns.map((column, index) =>
    Math.max(3, column.length, ...texts.map((row) => row[index]?.length ?? 0)),
  );
  const isNumber = columns.map((column) => rows.some((row) => typeof row[column] === 'number'));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, index) => pad(cell, widths[index] ?? 0, isNumber[index] ?? false)).join(' | ')} |\n`;
  const rule = widths.map((width, index) =>
    isNumber[index] === true ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  );
  process.stdout.write(`\n### ${title}\n\n${line(columns)}${line(rule)}${texts.map(line).join('')}`);
}

function textOf(value: string | number | undefined): string {
  return typeof value === 'number' ? shown(value) : (value ?? '');
}

function pad(text: string, width: number, toTheRight: boolean): string {
  return toTheRight ? text.padStart(width) : text.padEnd(width);
}
