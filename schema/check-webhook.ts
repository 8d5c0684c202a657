import type { z } from 'zod';
import { hostOf } from '../src/domain/webhook-url.ts';
import type { SchemaContext } from './context.ts';
import { shown } from './errors.ts';
import { type Checked, checkInput, userError } from './user-error.ts';

/** Runs the checks of a webhook's input; where nothing is wrong with it, also that of the host in its URL, if it has one. */
export async function checkWebhook<Input extends { url?: string | undefined }>(
  context: SchemaContext,
  schema: z.ZodType<Input>,
  input: unknown,
): Promise<Checked<Input>> {
  const checked = checkInput(schema, input);
  if (checked.kind === 'refused') return checked;
  const { url } = checked.input;
  if (url === undefined) return checked;
  const refusal = await context.checkHost(hostOf(new URL(url)));
  if (refusal === null) return checked;
  const error = userError(['url'], 'BLOCKED_ADDRESS', `url ${shown(url)} is refused: ${refusal}`);
  return { kind: 'refused', userErrors: [error] };
}
