import { setImmediate as turnEnd } from 'node:timers/promises';
import { coalesce } from '../coalesce.ts';
import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { endsInBox } from '../json-schema/time-box.ts';
import { TimeBudget } from '../json-schema/time-budget.ts';
import { expectFewRows } from './expect-few-rows.ts';
import { SchemaCache } from './schema-cache.ts';
import type { ProjectId, WebhookId } from '../domain/ids.ts';
import type { CheckData, DataProblem } from '../json-schema/compile-schema.ts';
import type { Pipelines } from './pipelines.ts';

/** Why data is not taken. `too-costly`: checking it took too long, or the project's checks or schemas have lately. */
export type DataRefusal =
  | { kind: 'mismatch'; problems: readonly DataProblem[] }
  | { kind: 'too-costly' }
  | { kind: 'unusable-schema'; reason: string };

/** What there is to check about an event. */
export interface CheckedEvent {
  projectId: ProjectId;
  type: string;
  data: unknown;
  /** A test may be of any type and is not checked; null for what is none. */
  testWebhookId: WebhookId | null;
}

/** What a check found, and against which version of the schema; null for a type that none is known of. */
export interface Verdict {
  version: string | null;
  refusal: DataRefusal | null;
}

interface KnownSchema {
  /** Another one after every change of the event type's row. */
  version: string;
  /** Or why the schema cannot be compiled, though it could be when it was stored. */
  check: CheckData | string;
}

interface Check {
  event: CheckedEvent;
  schema: KnownSchema;
  verdict: Verdict;
  stopCount: number;
}

/** The longest that checks hold the process at a time. */
const boxLimitMs = 50;
/** Five times what a schema may take when it is stored: one that could be compiled then must not fail because the machine is busy. */
const compileLimitMs = 5_000;
/** How often a check is stopped before its data is refused: once may be because the machine stood still. */
const stopsMax = 2;
/** What one project may take of it: a twentieth of a core. */
const budget = { burstMs: 200, perSecondMs: 50 };
/** Schemas kept compiled, by their text, of which each byte takes 44 compiled. */
const bytesMax = 2 * 1024 * 1024;

/**
 * The schemas of event types, as far as this process knows them. Nothing here needs to be fresh: the statement that stores
 * an event refuses one that was not checked against the schema that the type has at that moment, and only then, or when
 * data does not match, is the database asked.
 */
export class EventSchemas {
  readonly #budget = new TimeBudget(budget);
  readonly #known = new SchemaCache<KnownSchema>(bytesMax);
  readonly #find: (event: CheckedEvent) => Promise<SchemaRow | null>;
  /** Schemas being compiled, by type and version: who wants the same one waits for it. */
  readonly #learning = new Map<string, Promise<DataRefusal | null>>();

  constructor(database: Pipelines) {
    this.#find = coalesce(async (events) => await this.#findAll(database, events));
  }

  /** Checks events against the schemas that are known, in turns that are short. */
  async judge(events: readonly CheckedEvent[]): Promise<Verdict[]> {
    const checks: Check[] = [];
    const verdicts = events.map((event): Verdict => {
      const schema = event.testWebhookId === null ? this.#known.find(event.projectId, event.type) : undefined;
      if (schema === undefined) return { version: null, refusal: null };
      const verdict = { version: schema.version, refusal: null };
      checks.push({ event, schema, verdict, stopCount: 0 });
      return verdict;
    });
    await this.#runAll(checks);
    return verdicts;
  }

  /**
   * Asks the database for the schema of the event's type, and gives the version that it has, null when it has none; and why
   * data of that version cannot be checked now.
   */
  async refresh(event: CheckedEvent): Promise<Verdict> {
    const row = await this.#find(event);
    if (row === null) {
      this.#known.forget(event.projectId, event.type);
      return { version: null, refusal: null };
    }
    const isKnown = this.#known.find(event.projectId, event.type)?.version === row.version;
    if (row.schema === null || isKnown) return { version: row.version, refusal: null };
    const key = `${keyOf(event)} ${row.version}`;
    const learning = this.#learning.get(key) ?? this.#learn(event, row.version, row.schema);
    this.#learning.set(key, learning);
    try {
      return { version: row.version, refusal: await learning };
    } finally {
      this.#learning.delete(key);
    }
  }

  async #runAll(checks: readonly Check[]): Promise<void> {
    let next = 0;
    let startedAtMs = 0;
    const run = (): void => {
      for (const check of checks.slice(next)) {
        startedAtMs = performance.now();
        check.verdict.refusal = this.#refusalOf(check);
        this.#budget.take(check.event.projectId, performance.now() - startedAtMs);
        next += 1;
      }
    };
    while (next < checks.length && !endsInBox(boxLimitMs, run)) {
      const stopped = checks[next];
      if (stopped === undefined) return; // time was up when the last one had ended
      this.#budget.take(stopped.event.projectId, performance.now() - startedAtMs);
      stopped.stopCount += 1;
      if (stopped.stopCount === stopsMax) {
        stopped.verdict.refusal = { kind: 'too-costly' };
        next += 1;
      }
      await turnEnd();
    }
  }

  #refusalOf({ event, schema: { check } }: Check): DataRefusal | null {
    if (typeof check === 'string') return { kind: 'unusable-schema', reason: check };
    if (this.#budget.isSpent(event.projectId)) return { kind: 'too-costly' };
    try {
      const problems = check(event.data);
      return problems.length === 0 ? null : { kind: 'mismatch', problems };
    } catch (error) {
      // A schema that leads back to itself for ever. Whatever else a tenant's schema throws is not the others' trouble.
      if (error instanceof RangeError) return { kind: 'too-costly' };
      return { kind: 'unusable-schema', reason: `fails: ${String(error)}` };
    }
  }

  async #findAll(database: Pipelines, events: readonly CheckedEvent[]): Promise<(SchemaRow | null)[]> {
    const wanted = new Map(events.map((event) => [keyOf(event), event]));
    const keys = [...wanted.values()].map(({ projectId, type }) => ({
      project_id: uuidOf(projectId),
      name: type,
      version: this.#known.find(projectId, type)?.version ?? null,
    }));
    const { rows } = await database.pipeline.query<SchemaRow>({
      name: 'event-schemas',
      text: schemasSql,
      values: [JSON.stringify(keys)],
    });
    const found = new Map(rows.map((row) => [keyOf(eventTypeOf(row)), row]));
    return events.map((event) => found.get(keyOf(event)) ?? null);
  }

  async #learn({ projectId, type }: CheckedEvent, version: string, text: string): Promise<DataRefusal | null> {
    // Loaded here and not at the top: a process that only delivers has no use for ajv, nor has one without schemas.
    const { compileInTurn } = await import('../json-schema/compile-in-turn.ts');
    const compiled = await compileInTurn(projectId, JSON.parse(text), compileLimitMs);
    if (compiled.kind === 'not-now') return { kind: 'too-costly' };
    const check = compiled.kind === 'compiled' ? compiled.check : String(compiled.problems[0]?.message);
    this.#known.keep(projectId, type, { version, check }, text.length);
    return null;
  }
}

// xmin changes with every committed change of the row (PostgreSQL manual, §5.6 System Columns).
const schemasSql = `
select t.project_id, t.name, t.xmin::text as version,
       case when t.xmin::text is distinct from k.version then t.schema::text end as schema
from json_to_recordset($1::json) as k(project_id uuid, name text, version text)
join event_types t on t.project_id = k.project_id and t.name = k.name
where t.schema is not null and ${expectFewRows('octet_length(k.name)')}`;

interface SchemaRow {
  project_id: string;
  name: string;
  version: string;
  /** Null when the version is the one that is known. */
  schema: string | null;
}

function eventTypeOf(row: SchemaRow): { projectId: ProjectId; type: string } {
  return { projectId: idFromUuid('project', row.project_id), type: row.name };
}

function keyOf({ projectId, type }: { projectId: ProjectId; type: string }): string {
  return `${projectId} ${type}`;
}
