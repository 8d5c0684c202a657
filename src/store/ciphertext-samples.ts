import type { Queryable } from './pipelines.ts';

/** A stored ciphertext, and the id of the encryption key that made it. */
export interface CiphertextSample {
  keyId: string;
  ciphertext: string;
}

/** Signing secrets are looked at up to this many, the newest: each project's use of a key shows among them. */
const lookedAtMax = 10_000;

/** The newest signing secret of each encryption key, of all projects. */
export async function listCiphertextSamples(database: Queryable): Promise<CiphertextSample[]> {
  const { rows } = await database.query<{ key_id: string; ciphertext: string }>({
    text: `
      with recent as (
        select id, ciphertext, split_part(ciphertext, '.', 2) as key_id from webhook_secrets order by id desc limit $1::int
      )
      select distinct on (key_id) key_id, ciphertext from recent order by key_id, id desc`,
    values: [lookedAtMax],
  });
  return rows.map((row) => ({ keyId: row.key_id, ciphertext: row.ciphertext }));
}
