import { builder } from './builder.ts';
import { Recovery, type RecoveryRow } from './recovery.ts';
import { UserError, type UserErrorShape } from './user-error.ts';

/** What a mutation of a recovery gives. */
export interface RecoveryResult {
  recovery: RecoveryRow | null;
  userErrors: UserErrorShape[];
}

/** Makes the payload type of such a mutation. */
export function recoveryPayload(name: string, description: string, refusals: string) {
  return builder.objectRef<RecoveryResult>(name).implement({
    description,
    fields: (t) => ({
      recovery: t.field({
        type: Recovery,
        nullable: true,
        description: 'The recovery as it now is; null when nothing was done.',
        resolve: (result) => result.recovery,
      }),
      userErrors: t.expose('userErrors', { type: [UserError], description: refusals }),
    }),
  });
}
