const controlCharacter = /\p{Cc}/u;

/** Whether the text can name something: 1 to 100 characters and no control characters. */
export function isNameText(text: string): boolean {
  return text.trim().length > 0 && text.length <= 100 && isKeptText(text);
}

/** Whether the text can describe something: at most 1,000 characters, and none that Postgres cannot keep. */
export function isDescriptionText(text: string): boolean {
  return text.length <= 1_000 && !text.includes('\0') && text.isWellFormed();
}

/** Whether the text can be an idempotency key: 1 to 255 characters and no control characters. */
export function isIdempotencyKey(text: string): boolean {
  return text.length > 0 && text.length <= 255 && isKeptText(text);
}

/** Whether Postgres keeps the text as it is and a person sees all of it: no control characters and no half surrogates. */
function isKeptText(text: string): boolean {
  return text.isWellFormed() && !controlCharacter.test(text);
}
