import { z } from 'zod';
import { builder } from './builder.ts';
import { shown } from './errors.ts';

/** What the caller can mend about a mutation's input. `field` is the path to it, from `input`. */
export interface UserErrorShape {
  field: string[] | null;
  message: string;
  /** Stable text. */
  code: string;
}

/** The GraphQL type of user errors; every payload has `userErrors`. */
export const UserError = builder.objectRef<UserErrorShape>('UserError').implement({
  description: 'What the caller can mend about the input of a mutation.',
  fields: (t) => ({
    field: t.exposeStringList('field', {
      nullable: true,
      description: 'The path to the field, from `input`; null when no single field is to blame.',
    }),
    message: t.exposeString('message', { description: 'What is wrong, naming the field and its value.' }),
    code: t.exposeString('code', { description: 'What is wrong, as stable text for programs.' }),
  }),
});

/** A user error about the field `input.<path>`. */
export function userError(path: readonly PropertyKey[], code: string, message: string): UserErrorShape {
  return { field: ['input', ...path.map(String)], code, message };
}

/** There is no such thing in the caller's project. */
export function notFoundError(what: string, id: string): UserErrorShape {
  return userError(['id'], 'NOT_FOUND', `No ${what} with id ${shown(id)}.`);
}

/**
 * A check of one input field: what fails gives `code` and a message that names the field, the requirement and, unless it
 * holds credentials, the value.
 */
export function rule<Value>(
  holds: (value: Value) => boolean,
  code: string,
  requirement: string,
  value: 'shown' | 'secret' = 'shown',
): z.ZodType<Value, Value> {
  return z.custom<Value>().refine(holds, {
    params: { code },
    error: ({ input, path }) => {
      const given = value === 'shown' ? `, not ${shown(input)}` : '';
      return `${path?.join('.') ?? 'input'} must be ${requirement}${given}.`;
    },
  });
}

/** What a mutation's checks give: the input, parsed, or everything that is wrong with it. */
export type Checked<Input> =
  | { kind: 'ok'; input: Input; userErrors: [] }
  | { kind: 'refused'; userErrors: UserErrorShape[] };

/** Runs the checks of a mutation's input. */
export function checkInput<Input>(schema: z.ZodType<Input>, input: unknown): Checked<Input> {
  const result = schema.safeParse(input);
  if (result.success) return { kind: 'ok', input: result.data, userErrors: [] };
  return { kind: 'refused', userErrors: result.error.issues.map(userErrorOf) };
}

function userErrorOf(issue: z.core.$ZodIssue): UserErrorShape {
  const code: unknown = issue.code === 'custom' ? issue.params?.['code'] : undefined;
  return userError(issue.path, typeof code === 'string' ? code : 'INVALID', issue.message);
}
