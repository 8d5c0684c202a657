const controlCharacter = /\p{Cc}/u;
const nameLengthMax = 100;
const descriptionLengthMax = 1_000;
const idempotencyKeyLengthMax = 255;

/** What a name must be, for error messages. */
export const nameRequirement =
  '1 to 100 characters, not only blanks, without control characters and halves of surrogate pairs';

/** Whether the text can name something: 1 to 100 characters, not only blanks, all of which a person sees. */
export function isNameText(text: string): boolean {
  return text.trim().length > 0 && isAtMost(text, nameLengthMax) && isKeptText(text);
}

/** Whether the text is short enough to describe something: at most 1,000 characters. */
export function isDescriptionLength(text: string): boolean {
  return isAtMost(text, descriptionLengthMax);
}

/** Whether Postgres can keep the text as it is: no NUL character and no half of a surrogate pair. */
export function isStorableText(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0');
}

/** What an idempotency key must be, for error messages. */
export const idempotencyKeyRequirement =
  '1 to 255 characters, without control characters and halves of surrogate pairs';

/** Whether the text can be an idempotency key: 1 to 255 characters, all of which a person sees. */
export function isIdempotencyKey(text: string): boolean {
  return text.length > 0 && isAtMost(text, idempotencyKeyLengthMax) && isKeptText(text);
}

/** Whether Postgres keeps the text as it is and a person sees all of it: no control characters and no half surrogates. */
function isKeptText(text: string): boolean {
  return text.isWellFormed() && !controlCharacter.test(text);
}

/** A character is a code point, of one or two units: what is twice too long in units is not worth counting. */
function isAtMost(text: string, lengthMax: number): boolean {
  return text.length <= 2 * lengthMax && Array.from(text).length <= lengthMax;
}
