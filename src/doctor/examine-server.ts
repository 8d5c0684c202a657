import { connectionsMax } from '../store/pipelines.ts';
import { judgeEncryption } from './judge-encryption.ts';
import type { Client } from 'pg';
import type { Finding } from '../finding.ts';

/** What a Postgres says of how it can be used. */
export interface ServerFacts {
  /** It follows another server, and takes no writes. */
  isStandby: boolean;
  /** `default_transaction_read_only`, of the server, the database or the role. */
  isReadOnly: boolean;
  /** Connections that it lets in, for the least of server, database and role. */
  allowedCount: number;
  /** Connections that there are, of whomever. */
  openCount: number;
  isEncrypted: boolean;
}

/** Connections of one process at most. The queue has its own where it is in Postgres. */
const gatewayCount = connectionsMax.pipeline + connectionsMax.upkeep + connectionsMax.prisma + connectionsMax.reads;
const workerCount = connectionsMax.pipeline + connectionsMax.upkeep;

const factsSql = `
select pg_is_in_recovery() as "isStandby",
       current_setting('default_transaction_read_only') = 'on' as "isReadOnly",
       least(
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0),
         (select nullif(datconnlimit, -1) from pg_database where datname = current_database()),
         (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user)
       ) as "allowedCount",
       (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as "openCount",
       (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as "isEncrypted"`;

/** What there is to say of the server behind a connection, whatever is in its database. */
export async function examineServer(client: Client): Promise<Finding[]> {
  const { rows } = await client.query<ServerFacts>(factsSql);
  const [facts] = rows;
  if (facts === undefined) throw new Error('PostgreSQL gave no row');
  const remedy = 'Add `?sslmode=verify-full` to DATABASE_URL, with a server that has a certificate.';
  return [
    judgeWrites(facts),
    judgeConnections(facts),
    judgeEncryption('PostgreSQL encryption', client.host, facts.isEncrypted, remedy),
  ];
}

/** Judges whether the server takes writes. */
export function judgeWrites({ isStandby, isReadOnly }: ServerFacts): Finding {
  const check = 'PostgreSQL writes';
  if (isStandby) {
    const message = 'It is a standby, which takes no writes.';
    return { check, status: 'failed', message, remedy: 'Set DATABASE_URL to the primary.' };
  }
  if (isReadOnly) {
    const message = 'Its transactions are read-only unless told otherwise (default_transaction_read_only is on).';
    return { check, status: 'failed', message, remedy: 'Turn that off for this role and database.' };
  }
  return { check, status: 'ok', message: 'It takes writes.', remedy: null };
}

/** Judges whether there are connections enough for a gateway and a worker, and some left. */
export function judgeConnections({ allowedCount, openCount }: ServerFacts): Finding {
  const check = 'PostgreSQL connections';
  const needs = `a gateway takes up to ${gatewayCount}, a worker ${workerCount}`;
  if (allowedCount < gatewayCount + workerCount) {
    const message = `It lets ${allowedCount} connections in; ${needs}.`;
    return {
      check,
      status: 'warning',
      message,
      remedy: 'Raise max_connections, or the limit of the role or database.',
    };
  }
  const message = `${openCount} of ${allowedCount} connections are open; ${needs}.`;
  if (openCount < allowedCount * 0.9) return { check, status: 'ok', message, remedy: null };
  return { check, status: 'warning', message, remedy: 'Raise max_connections, or run fewer processes on that server.' };
}
