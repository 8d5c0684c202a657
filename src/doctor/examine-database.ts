import { connectToDatabase } from '../stack/connect.ts';
import { hasEmbeddedDatabase, openDatabaseInUse } from '../stack/database-in-use.ts';
import { loadEmbeddedEncryptionKeys } from '../stack/encryption-keys.ts';
import { loadMigrationState } from '../stack/migrate.ts';
import { judgePostgresVersion, loadPostgresVersion } from '../stack/postgres-version.ts';
import { loadBacklog } from '../store/backlog.ts';
import { loadDatabaseNow } from '../store/database-now.ts';
import { listCiphertextSamples } from '../store/ciphertext-samples.ts';
import { createSecretBox } from '../store/secret-box.ts';
import { examineServer } from './examine-server.ts';
import { judgeBacklog, judgeClock, judgeKeys, judgeMigrations } from './judge-database.ts';
import type { Client } from 'pg';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';

/** What there is to say of the database, and, when it can be used, what `use` finds on it. */
export async function examineDatabase(
  config: Config,
  use: (databaseUrl: string) => Promise<Finding[]>,
): Promise<{ findings: Finding[]; used: Finding[] }> {
  if (config.databaseUrl === null && !(await hasEmbeddedDatabase(config.dataFolder))) {
    const message = `POSTHORN_DATA ${JSON.stringify(config.dataFolder)} has no database yet.`;
    return {
      findings: [{ check: 'PostgreSQL', status: 'warning', message, remedy: '`posthorn start` makes it.' }],
      used: [],
    };
  }
  try {
    await using database = await openDatabaseInUse(config);
    const client = await connectToDatabase(database.url);
    try {
      const findings = await examineClient(client, config);
      const usable = findings.every(({ status }) => status !== 'failed');
      return { findings, used: usable ? await use(database.url) : [] };
    } finally {
      await client.end();
    }
  } catch (error) {
    return { findings: [failureOf(config, error)], used: [] };
  }
}

/** One that is too old, or has not its tables, is not asked for more. */
async function examineClient(client: Client, config: Config): Promise<Finding[]> {
  const place = `The database ${client.database} at ${client.host}:${client.port} answers.`;
  const reachable: Finding = { check: 'PostgreSQL', status: 'ok', message: place, remedy: null };
  const version = judgePostgresVersion(await loadPostgresVersion(client));
  if (version.status !== 'ok') return [reachable, version];
  const server = [...(await examineServer(client)), await examineClock(client)];
  const findings = [reachable, version, ...server, judgeMigrations(await loadMigrationState(client))];
  if (findings.some(({ status }) => status === 'failed')) return findings;
  const backlog = await loadBacklog(client, config.sweepGraceMs);
  return [...findings, await examineKeys(client, config), ...judgeBacklog(backlog, config, new Date())];
}

async function examineClock(client: Client): Promise<Finding> {
  const askedAtMs = Date.now();
  const there = await loadDatabaseNow(client);
  const answeredAtMs = Date.now();
  const hereMs = (askedAtMs + answeredAtMs) / 2;
  return judgeClock(there.getTime() - hereMs, answeredAtMs - askedAtMs);
}

/** Whether what is stored can be decrypted with the keys that are set, one sample per key that was used. */
async function examineKeys(client: Client, config: Config): Promise<Finding> {
  const keys = config.encryptionKeys?.reveal() ?? (await loadEmbeddedEncryptionKeys(config.dataFolder));
  const box = createSecretBox(keys);
  const unreadable: string[] = [];
  for (const { keyId, ciphertext } of await listCiphertextSamples(client)) {
    try {
      box.decrypt(ciphertext);
    } catch {
      unreadable.push(keyId);
    }
  }
  return judgeKeys(
    keys.map(({ id }) => id),
    unreadable,
  );
}

function failureOf(config: Config, error: unknown): Finding {
  const message = error instanceof Error ? error.message : String(error);
  const remedy =
    config.databaseUrl === null
      ? 'Correct POSTHORN_DATA, or see postgres.log in it.'
      : 'Start that server, or correct DATABASE_URL.';
  return { check: 'PostgreSQL', status: 'failed', message, remedy };
}
