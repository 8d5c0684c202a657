import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';

/** What is seen of a pool of `pg`. */
export interface WatchedPool {
  readonly totalCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly options: { max?: number | undefined };
}

/** What pg's pool takes when it is not told. */
const defaultMax = 10;

/** Creates the gauges of the database pools; the function that it gives says which pools there are, by name. */
export function addPoolGauges(registry: Registry): (pools: Record<string, WatchedPool>) => void {
  let watched: Record<string, WatchedPool> = {};
  const add = (name: string, help: string, read: (pool: WatchedPool) => number): void => {
    const gauge: Gauge<'pool'> = new Gauge({
      name,
      help,
      labelNames: ['pool'],
      registers: [registry],
      collect: () => {
        for (const [pool, source] of Object.entries(watched)) gauge.set({ pool }, read(source));
      },
    });
  };
  add(
    'posthorn_database_connections_in_use',
    'Connections of a pool that are at work.',
    ({ totalCount, idleCount }) => totalCount - idleCount,
  );
  add(
    'posthorn_database_connections_max',
    'Connections that a pool may have.',
    (pool) => pool.options.max ?? defaultMax,
  );
  add(
    'posthorn_database_calls_waiting',
    'Calls that wait for a connection of a pool.',
    ({ waitingCount }) => waitingCount,
  );
  return (pools) => (watched = pools);
}
