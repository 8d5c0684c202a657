import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import {
  bindMigrationAwareSqlAdapterFactory,
  ColumnTypeEnum,
  DriverAdapterError,
  type SqlMigrationAwareDriverAdapterFactory,
} from '@prisma/driver-adapter-utils';
import * as wasmBindings from '@prisma/schema-engine-wasm/schema_engine_bg';
import { DatabaseError, Pool } from 'pg';
import type { Migration } from '../../src/stack/apply-migrations.ts';

/** The engine on one database, until disposal. */
export interface SchemaEngineSession extends AsyncDisposable {
  engine: wasmBindings.SchemaEngine;
}

/**
 * Loads Prisma's own schema engine, compiled to WebAssembly: it reads, compares and migrates the database without the download
 * that Prisma's command line makes. It is the oracle of what `posthorn migrate` does.
 */
export async function loadSchemaEngine(databaseUrl: string, datamodel: string): Promise<SchemaEngineSession> {
  await loadModule();
  // Freeing the engine leaves the adapter's connections open; with a pool of our own we close them.
  const pool = new Pool({ connectionString: databaseUrl, max: 2 });
  pool.on('error', () => undefined); // A connection that breaks fails the command that runs on it.
  const adapter = bindMigrationAwareSqlAdapterFactory(createAdapterFactory(pool));
  try {
    const datamodels: [string, string][] = [['schema.prisma', datamodel]];
    const engine = await wasmBindings.SchemaEngine.new({ datamodels }, () => undefined, adapter);
    return {
      engine,
      [Symbol.asyncDispose]: async () => {
        engine.free();
        await pool.end();
      },
    };
  } catch (error) {
    await pool.end();
    throw error;
  }
}

/**
 * The engine asks for columns of the type `"char"`, which this adapter refuses to read: they go through as text, declared
 * as the character that the engine expects.
 */
function createAdapterFactory(pool: Pool): SqlMigrationAwareDriverAdapterFactory {
  const factory = new PrismaPg(pool);
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    const queryRaw = adapter.queryRaw.bind(adapter);
    adapter.queryRaw = async (query) => {
      const result = await queryRaw({ ...query, sql: castCharColumns(query.sql) });
      for (const [index, name] of result.columnNames.entries()) {
        if (charColumns.has(name)) result.columnTypes[index] = ColumnTypeEnum.Character;
      }
      return result;
    };
    adapter.executeScript = async (script) => await runScript(pool, script);
    return adapter;
  };
  return factory;
}

/**
 * The adapter's own cuts a script at every semicolon, those in functions and comments too, and runs the pieces one by one.
 * As one query a script is one transaction, as it is with Prisma's command line: one that fails has changed nothing.
 */
async function runScript(pool: Pool, script: string): Promise<void> {
  try {
    await pool.query(script);
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    const { code = '', severity = '', message, detail, column, hint } = error;
    throw new DriverAdapterError({ kind: 'postgres', code, severity, message, detail, column, hint });
  }
}

/** Applies the migrations as `prisma migrate deploy` does; gives the names of those that were missing. */
export async function deployByPrisma(databaseUrl: string, migrations: readonly Migration[]): Promise<string[]> {
  await using session = await loadSchemaEngine(databaseUrl, '');
  const { appliedMigrationNames } = await session.engine.applyMigrations({
    filters: { externalTables: [], externalEnums: [] },
    migrationsList: {
      baseDir: '',
      lockfile: { path: 'migration_lock.toml', content: 'provider = "postgresql"\n' },
      shadowDbInitScript: '',
      migrationDirectories: migrations.map(({ name, sql }) => ({
        path: name,
        migrationFile: { path: 'migration.sql', content: { tag: 'ok', value: sql } },
      })),
    },
  });
  return appliedMigrationNames;
}

const charColumns: ReadonlySet<string> = new Set(['constraint_type', 'confdeltype', 'confupdtype']);

function castCharColumns(sql: string): string {
  return sql
    .replace('constr.contype AS constraint_type', 'constr.contype::text AS constraint_type')
    .replaceAll(/\bcon\.(conf(?:del|upd)type)\b/g, 'con.$1::text AS $1');
}

/** What we use of WebAssembly: TypeScript declares it with the browser's types only. */
declare namespace WebAssembly {
  function compile(bytes: Uint8Array): Promise<object>;
  function instantiate(module: object, imports: object): Promise<{ exports: Record<string, unknown> }>;
}

let loaded: Promise<void> | null = null;

function loadModule(): Promise<void> {
  loaded ??= (async () => {
    const folder = dirname(createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm'));
    const module = await WebAssembly.compile(await readFile(join(folder, 'schema_engine_bg.wasm')));
    const { exports } = await WebAssembly.instantiate(module, { './schema_engine_bg.js': withLooseTimers() });
    wasmBindings.__wbg_set_wasm(exports);
    const start = exports['__wbindgen_start'];
    if (typeof start === 'function') start();
  })();
  return loaded;
}

/**
 * The bindings, with timers that keep no process alive: the engine leaves the limit of its lock running, 10 s, when it has
 * long finished, and a process that migrated would end that much later.
 */
function withLooseTimers(): object {
  const timers = Object.keys(wasmBindings).filter((name) => name.startsWith('__wbg_setTimeout_'));
  return { ...wasmBindings, ...Object.fromEntries(timers.map((name) => [name, startLooseTimer])) };
}

function startLooseTimer(run: () => void, delayMs: number): NodeJS.Timeout {
  return setTimeout(run, delayMs >>> 0).unref();
}
