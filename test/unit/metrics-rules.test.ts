import { beforeAll, describe, expect, test } from 'vitest';
import { createMetrics } from '../../src/metrics/metrics.ts';
import { parseExposition } from '../support/exposition.ts';
import { listExpressions, missingFrom, readAlertGroups, readDashboard } from '../support/promql.ts';
import type { AlertRule, Dashboard } from '../support/promql.ts';

describe('the alert rules', () => {
  let rules: AlertRule[];

  beforeAll(async () => {
    rules = (await readAlertGroups()).flatMap((group) => group.rules);
  });

  test('have one name each, and every one says how bad it is, since when, and what to do', () => {
    expect(rules.length).toBeGreaterThan(15);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const rule of rules) {
      expect(rule).toMatchObject({
        alert: expect.stringMatching(/^Posthorn[A-Z]\w+$/),
        for: expect.stringMatching(/^\d+[smh]$/),
        labels: { severity: expect.stringMatching(/^(critical|warning|info)$/) },
        annotations: { summary: expect.stringMatching(/\S/), description: expect.stringMatching(/[.)?]$/) },
      });
      expect(Object.keys(rule).sort()).toEqual(['alert', 'annotations', 'expr', 'for', 'labels']);
    }
  });

  test('have groups with one name each', async () => {
    const names = (await readAlertGroups()).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('the dashboard', () => {
  let dashboard: Dashboard;

  beforeAll(async () => {
    dashboard = await readDashboard();
  });

  test('asks whichever data source is chosen', () => {
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(39);
    expect(dashboard.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
    const chosen = { type: 'prometheus', uid: '${datasource}' };
    const panels = dashboard.panels.filter(({ type }) => type !== 'row');
    expect(panels.filter(({ targets = [] }) => targets.length === 0)).toEqual([]);
    for (const { datasource, targets = [] } of panels) {
      for (const asked of [datasource, ...targets.map((target) => target.datasource)]) expect(asked).toEqual(chosen);
    }
  });

  test('has its rows, and explains every panel', () => {
    const rows = dashboard.panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    expect(rows).toEqual(['Deliveries', 'Latency', 'Queue', 'Receivers', 'Feed', 'API', 'Processes']);
    expect(dashboard.panels.filter(({ type, description = '' }) => type !== 'row' && description === '')).toEqual([]);
  });

  test('has panels with one id each that do not lie over each other', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { h, w, x, y } }) =>
      Array.from({ length: h * w }, (_, cell) => `${x + (cell % w)} ${y + Math.floor(cell / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(panels.filter(({ gridPos: { w, x } }) => x + w > 24)).toEqual([]);
  });
});

test('an expression that names what there is not is found out', async () => {
  const page = createMetrics({ version: '1', roles: 'worker', attemptTimeoutMs: 1_000 }).page;
  const families = parseExposition(await page.read());
  const sound = 'sum by (outcome, job) (rate(posthorn_attempts_total{error=~"A|B", instance="x"}[5m])) and up == 0';
  expect(missingFrom(families, sound)).toEqual([]);
  expect(missingFrom(families, 'posthorn_attempt_total > 0')).toEqual(['posthorn_attempt_total']);
  expect(missingFrom(families, 'posthorn_attempts_total{code="A"}')).toEqual(['posthorn_attempts_total{code}']);
  expect(missingFrom(families, 'sum by (kind) (posthorn_attempts_total)')).toEqual(['by kind']);
});

test('every expression is about something', async () => {
  const expressions = await listExpressions();
  expect(expressions.size).toBeGreaterThan(60);
  expect([...expressions].filter(([, text]) => !/\b(posthorn|process|nodejs)_\w|^up/.test(text))).toEqual([]);
});
