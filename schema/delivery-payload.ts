import { builder } from './builder.ts';
import { Delivery, type DeliveryRow } from './delivery.ts';
import { UserError, type UserErrorShape } from './user-error.ts';

/** What a mutation of one delivery gives. */
export interface DeliveryResult {
  delivery: DeliveryRow | null;
  userErrors: UserErrorShape[];
}

/** Makes the payload type of such a mutation. */
export function deliveryPayload(name: string, description: string, refusals: string) {
  return builder.objectRef<DeliveryResult>(name).implement({
    description,
    fields: (t) => ({
      delivery: t.field({
        type: Delivery,
        nullable: true,
        description: 'The delivery as it now is; null when nothing was done.',
        resolve: (result) => result.delivery,
      }),
      userErrors: t.expose('userErrors', { type: [UserError], description: refusals }),
    }),
  });
}

/** The result of one that was refused. */
export function refusedDelivery(error: UserErrorShape): DeliveryResult {
  return { delivery: null, userErrors: [error] };
}
