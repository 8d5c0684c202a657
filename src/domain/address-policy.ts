/** An IP address as a number. */
interface Address {
  family: 4 | 6;
  value: bigint;
}

/** A range of addresses: those that share the first `prefixBits` bits. */
export interface Cidr {
  family: 4 | 6;
  value: bigint;
  prefixBits: number;
}

/**
 * Whether nothing may be sent to the address: anything that is not a globally reachable unicast address, and what
 * clouds reserve for themselves, unless an allowed range holds it. IPv4-mapped, NAT64 and 6to4 forms are judged by the IPv4 address inside them. A text that is
 * not a canonical address is forbidden, which includes addresses with a zone (`fe80::1%eth0`).
 * Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), RFC 4291, RFC 6052, RFC 3056.
 */
export function isForbiddenAddress(text: string, allowed: readonly Cidr[] = []): boolean {
  const address = parseAddress(text);
  return address === null || isForbidden(address, allowed);
}

/** Whether the text is an IPv4 or IPv6 address in the form that resolvers and sockets give. */
export function isAddress(text: string): boolean {
  return parseAddress(text) !== null;
}

/**
 * Reads ranges such as `10.0.0.0/8` and `fd00::/8`; an address alone is a range of one. Bits after the prefix are ignored.
 * Throws a RangeError that names the first text that is not a range.
 */
export function parseCidrs(texts: readonly string[]): Cidr[] {
  return texts.map((text) => {
    const range = parseCidr(text.trim());
    if (range === null) throw new RangeError(`not an IP address range such as 10.0.0.0/8: ${JSON.stringify(text)}`);
    return range;
  });
}

function parseCidr(text: string): Cidr | null {
  const [addressText = '', prefixText, ...rest] = text.split('/');
  const address = parseAddress(addressText);
  if (address === null || rest.length > 0) return null;
  const bits = bitsOf(address.family);
  if (prefixText === undefined) return { ...address, prefixBits: bits };
  if (!/^(?:0|[1-9]\d{0,2})$/.test(prefixText) || Number(prefixText) > bits) return null;
  return { ...address, prefixBits: Number(prefixText) };
}

function isForbidden(address: Address, allowed: readonly Cidr[]): boolean {
  if (allowed.some((range) => contains(range, address))) return false;
  if (address.family === 4) return forbiddenV4.some((range) => contains(range, address));
  const embedded = embeddedV4(address);
  if (embedded !== null) return isForbidden(embedded, allowed);
  // Only 2000::/3 is handed out as global unicast. All else is special or unassigned: loopback, v4-compatible (::/96),
  // local-use NAT64 (64:ff9b:1::/48), discard (100::/64), SRv6 (5f00::/16), unique and link local, multicast.
  return !contains(globalUnicast, address) || forbiddenV6.some((range) => contains(range, address));
}

/** The IPv4 address to which a packet for this IPv6 address goes in the end, or null. */
function embeddedV4(address: Address): Address | null {
  const carrier = carriers.find(({ range }) => contains(range, address));
  if (carrier === undefined) return null;
  return { family: 4, value: (address.value >> carrier.shiftBits) & 0xff_ff_ff_ffn };
}

function contains(range: Cidr, address: Address): boolean {
  if (range.family !== address.family) return false;
  const hostBits = BigInt(bitsOf(range.family) - range.prefixBits);
  return range.value >> hostBits === address.value >> hostBits;
}

function bitsOf(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

function parseAddress(text: string): Address | null {
  const isV6 = text.includes(':');
  const value = isV6 ? parseV6(text) : parseV4(text);
  return value === null ? null : { family: isV6 ? 6 : 4, value };
}

const v4Pattern = /^(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}$/;

function parseV4(text: string): bigint | null {
  if (!v4Pattern.test(text)) return null;
  const bytes = text.split('.').map(Number);
  if (bytes.some((byte) => byte > 255)) return null;
  return bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

function parseV6(text: string): bigint | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...Array.from({ length: missing }, () => 0n), ...tail];
  return groups.reduce((value, group) => (value << 16n) | group, 0n);
}

/** The 16-bit groups of one side of `::`; the side that ends the address may end in dotted IPv4. */
function parseGroups(text: string, endsAddress: boolean): bigint[] | null {
  if (text === '') return [];
  const words = text.split(':');
  const groups: bigint[] = [];
  for (const [index, word] of words.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(word)) {
      groups.push(BigInt(`0x${word}`));
      continue;
    }
    const v4 = endsAddress && index === words.length - 1 ? parseV4(word) : null;
    if (v4 === null) return null;
    groups.push(v4 >> 16n, v4 & 0xff_ffn);
  }
  return groups;
}

/**
 * The registry's IPv4 blocks, multicast, and the one address outside of both that clouds answer on inside a machine.
 * 192.0.0.0/24 is closed whole: its two global anycast services take no webhooks.
 */
const forbiddenV4 = parseCidrs([
  '0.0.0.0/8', // this network
  '10.0.0.0/8', // private use
  '100.64.0.0/10', // shared address space of carriers
  '127.0.0.0/8', // loopback
  '168.63.129.16/32', // Azure's own services, as each of its machines sees them
  '169.254.0.0/16', // link local, with the clouds' metadata services
  '172.16.0.0/12', // private use
  '192.0.0.0/24', // IETF protocol assignments
  '192.0.2.0/24', // documentation
  '192.88.99.0/24', // deprecated 6to4 relays
  '192.168.0.0/16', // private use
  '198.18.0.0/15', // benchmarking
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and limited broadcast
]);

const globalUnicast: Cidr = { family: 6, value: 0x2n << 124n, prefixBits: 3 };

/** What the registry takes out of 2000::/3. 2001::/23 is closed whole: it holds Teredo, ORCHID and benchmarking. */
const forbiddenV6 = parseCidrs([
  '2001::/23', // IETF protocol assignments
  '2001:db8::/32', // documentation
  '3fff::/20', // documentation
]);

/** IPv6 ranges that carry an IPv4 address, and how far from the right it stands. */
const carriers = [
  { range: { family: 6, value: 0xff_ffn << 32n, prefixBits: 96 }, shiftBits: 0n }, // ::ffff:0:0/96, v4-mapped
  { range: { family: 6, value: 0x64_ff9bn << 96n, prefixBits: 96 }, shiftBits: 0n }, // 64:ff9b::/96, NAT64
  { range: { family: 6, value: 0x2002n << 112n, prefixBits: 16 }, shiftBits: 80n }, // 2002::/16, 6to4
] as const satisfies readonly { range: Cidr; shiftBits: bigint }[];
