import type { Client } from 'pg';
import type { Finding } from '../finding.ts';

/** From 13 on, ids can be made in a column's default without an extension (`gen_random_uuid`). */
const majorMin = 13;

/** The version as Postgres counts it, such as 180004 for 18.4. */
export async function loadPostgresVersion(client: Client): Promise<number> {
  const { rows } = await client.query<{ server_version_num: string }>('show server_version_num');
  return Number(rows[0]?.server_version_num);
}

/** Says whether a Postgres of this version, such as 180004, can hold Posthorn. */
export function judgePostgresVersion(version: number): Finding {
  const check = 'PostgreSQL version';
  const name = `PostgreSQL ${Math.floor(version / 10_000)}.${version % 10_000}`;
  if (version >= majorMin * 10_000) return { check, status: 'ok', message: `It is ${name}.`, remedy: null };
  const message = `It is ${name}, which is too old.`;
  return { check, status: 'failed', message, remedy: `Set DATABASE_URL to a PostgreSQL ${majorMin} or later.` };
}
