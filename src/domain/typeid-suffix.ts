// The suffix of a TypeID is a UUID in Crockford's base32, lower case: 128 bits after two zero bits, 26 characters of five bits.
// Source: TypeID specification 0.3. Written here because typeid-js takes 10 µs each way, and a delivery has eight of them.

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
/** Ten bits as two characters. */
const pairs = Array.from({ length: 1024 }, (_, bits) => `${alphabet[bits >> 5] ?? ''}${alphabet[bits & 31] ?? ''}`);
/** Eight bits as two hexadecimal digits. */
const bytes = Array.from({ length: 256 }, (_, bits) => bits.toString(16).padStart(2, '0'));
const hexDigits = valuesOf('0123456789abcdef', 16);
const base32Digits = valuesOf(alphabet, 32);

/** What each ASCII character stands for; what is no digit stands for 0, since only checked text comes here. */
function valuesOf(digits: string, base: number): Uint8Array {
  const values = new Uint8Array(128);
  for (let value = 0; value < base; value += 1) values[digits.charCodeAt(value)] = value;
  return values;
}

/** The suffix of a UUID in its usual text form, lower case. */
export function suffixOfUuid(uuid: string): string {
  let suffix = '';
  let bits = 0;
  let bitCount = 2;
  for (let index = 0; index < uuid.length; index += 1) {
    const code = uuid.charCodeAt(index);
    if (code === dash) continue;
    bits = (bits << 4) | (hexDigits[code] ?? 0);
    bitCount += 4;
    if (bitCount < 10) continue;
    bitCount -= 10;
    suffix += pairs[bits >> bitCount] ?? '';
    bits &= (1 << bitCount) - 1;
  }
  return suffix;
}

/** The UUID in its usual text form that the last 26 characters of a TypeID stand for. */
export function uuidOfSuffix(typeId: string): string {
  let uuid = '';
  let byteCount = 0;
  let bits = 0;
  let bitCount = -2;
  for (let index = typeId.length - suffixLength; index < typeId.length; index += 1) {
    bits = (bits << 5) | (base32Digits[typeId.charCodeAt(index)] ?? 0);
    bitCount += 5;
    if (bitCount < 8) continue;
    bitCount -= 8;
    uuid += bytes[bits >> bitCount] ?? '';
    bits &= (1 << bitCount) - 1;
    byteCount += 1;
    if (byteCount === 4 || byteCount === 6 || byteCount === 8 || byteCount === 10) uuid += '-';
  }
  return uuid;
}

const dash = '-'.charCodeAt(0);
const suffixLength = 26;
