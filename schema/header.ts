import type { WebhookHeader } from '../src/store/webhook-headers.ts';
import { builder } from './builder.ts';

/** The GraphQL type of HTTP headers, sent or received. */
export const Header = builder.objectRef<WebhookHeader>('Header').implement({
  description: 'An HTTP header.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'Its name.' }),
    value: t.exposeString('value', { description: 'Its value; credentials are masked.' }),
  }),
});
