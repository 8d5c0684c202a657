const unsafe = /[\p{Cc}--[\n\t]]/v;
const everyUnsafe = /[\p{Cc}--[\n\t]]/gv;

/**
 * The text as it can be stored and shown: control characters other than line feed and tab as `\uXXXX` (Postgres refuses
 * NUL, terminals obey escape sequences), and at most `bytesMax` bytes of UTF-8, cut between characters.
 */
export function storableText(text: string, bytesMax: number): string {
  const escaped = unsafe.test(text) ? text.replace(everyUnsafe, escapeControl) : text;
  if (escaped.length * 3 <= bytesMax) return escaped;
  const bytes = Buffer.from(escaped);
  return bytes.length <= bytesMax ? escaped : decodeText(bytes.subarray(0, bytesMax), true);
}

/** The bytes as text, whatever is not UTF-8 replaced by U+FFFD. When `isCut`, a character begun at the end is left out. */
export function decodeText(bytes: Buffer, isCut: boolean): string {
  return isCut ? new TextDecoder().decode(bytes, { stream: true }) : bytes.toString('utf8');
}

function escapeControl(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
