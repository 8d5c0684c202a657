import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isForbiddenAddress, parseCidrs } from '../../src/domain/address-policy.ts';
import { checkWebhookUrl } from '../../src/domain/webhook-url.ts';

// The IANA special-purpose address registries that RFC 6890 set up, as of 2025, with the RFC of each entry:
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
// Multicast has registries of its own (RFC 5771, RFC 4291 §2.7).

/** Entries that are not globally reachable, or for which the registry does not say (N/A). */
const closedV4: [block: string, name: string][] = [
  ['0.0.0.0/8', '“this network”, RFC 791 §3.2'],
  ['0.0.0.0/32', '“this host on this network”, RFC 1122 §3.2.1.3'],
  ['10.0.0.0/8', 'private use, RFC 1918'],
  ['100.64.0.0/10', 'shared address space, RFC 6598'],
  ['127.0.0.0/8', 'loopback, RFC 1122 §3.2.1.3'],
  ['169.254.0.0/16', 'link local, RFC 3927'],
  ['172.16.0.0/12', 'private use, RFC 1918'],
  ['192.0.0.0/24', 'IETF protocol assignments, RFC 6890 §2.1'],
  ['192.0.0.0/29', 'IPv4 service continuity prefix, RFC 7335'],
  ['192.0.0.8/32', 'IPv4 dummy address, RFC 7600'],
  ['192.0.0.170/32', 'NAT64/DNS64 discovery, RFC 7050 §2.2'],
  ['192.0.0.171/32', 'NAT64/DNS64 discovery, RFC 7050 §2.2'],
  ['192.0.2.0/24', 'documentation (TEST-NET-1), RFC 5737'],
  ['192.88.99.0/24', 'deprecated 6to4 relay anycast, RFC 7526'],
  ['192.88.99.2/32', '6a44 relay anycast, RFC 6751'],
  ['192.168.0.0/16', 'private use, RFC 1918'],
  ['198.18.0.0/15', 'benchmarking, RFC 2544'],
  ['198.51.100.0/24', 'documentation (TEST-NET-2), RFC 5737'],
  ['203.0.113.0/24', 'documentation (TEST-NET-3), RFC 5737'],
  ['240.0.0.0/4', 'reserved, RFC 1112 §4'],
  ['255.255.255.255/32', 'limited broadcast, RFC 8190'],
  ['224.0.0.0/4', 'multicast, RFC 5771'],
];

const closedV6: [block: string, name: string][] = [
  ['::1/128', 'loopback, RFC 4291'],
  ['::/128', 'unspecified, RFC 4291'],
  ['64:ff9b:1::/48', 'IPv4-IPv6 translation for local use, RFC 8215'],
  ['100::/64', 'discard only, RFC 6666'],
  ['100:0:0:1::/64', 'dummy prefix, RFC 9780'],
  ['2001::/23', 'IETF protocol assignments, RFC 2928'],
  ['2001::/32', 'Teredo, RFC 4380'],
  ['2001:2::/48', 'benchmarking, RFC 5180'],
  ['2001:10::/28', 'deprecated ORCHID, RFC 4843'],
  ['2001:db8::/32', 'documentation, RFC 3849'],
  ['3fff::/20', 'documentation, RFC 9637'],
  ['5f00::/16', 'segment routing SIDs, RFC 9602'],
  ['fc00::/7', 'unique local, RFC 4193'],
  ['fe80::/10', 'link-local unicast, RFC 4291'],
  ['fec0::/10', 'deprecated site-local unicast, RFC 3879'],
  ['ff00::/8', 'multicast, RFC 4291'],
];

/** Entries that the registries call globally reachable, and that are closed with the block around them all the same. */
const closedThoughGlobal: [block: string, name: string][] = [
  ['192.0.0.9/32', 'port control protocol anycast, RFC 7723'],
  ['192.0.0.10/32', 'TURN anycast, RFC 8155'],
  ['2001:1::1/128', 'port control protocol anycast, RFC 7723'],
  ['2001:1::2/128', 'TURN anycast, RFC 8155'],
  ['2001:1::3/128', 'DNS-SD service registration anycast, RFC 9665'],
  ['2001:3::/32', 'AMT, RFC 7450'],
  ['2001:4:112::/48', 'AS112, RFC 7535'],
  ['2001:20::/28', 'ORCHIDv2, RFC 7343'],
  ['2001:30::/28', 'drone remote ids, RFC 9374'],
];

/** Entries that are globally reachable and open. */
const open: [block: string, name: string][] = [
  ['192.31.196.0/24', 'AS112, RFC 7535'],
  ['192.52.193.0/24', 'AMT, RFC 7450'],
  ['192.175.48.0/24', 'direct delegation AS112, RFC 7534'],
  ['2620:4f:8000::/48', 'direct delegation AS112, RFC 7534'],
];

interface Block {
  family: 4 | 6;
  value: bigint;
  hostBits: bigint;
}

function blockOf(text: string): Block {
  const [range] = parseCidrs([text]);
  if (range === undefined) throw new Error(`no range: ${text}`);
  return { ...range, hostBits: BigInt((range.family === 4 ? 32 : 128) - range.prefixBits) };
}

function textOf(family: 4 | 6, value: bigint): string {
  const [size, count] = family === 4 ? [8n, 4] : [16n, 8];
  const parts = Array.from({ length: count }, (_, index) => (value >> (BigInt(count - 1 - index) * size)) % 2n ** size);
  return parts.map((part) => part.toString(family === 4 ? 10 : 16)).join(family === 4 ? '.' : ':');
}

/** Any address of the block; its first and last come up often. */
function addressIn({ family, value, hostBits }: Block): fc.Arbitrary<string> {
  const last = 2n ** hostBits - 1n;
  return fc
    .oneof(fc.constantFrom(0n, last), fc.bigInt({ min: 0n, max: last }))
    .map((host) => textOf(family, value + host));
}

function urlCheck(address: string) {
  const host = address.includes(':') ? `[${address}]` : address;
  return checkWebhookUrl(`http://${host}/`, { requireHttps: false });
}

test.each([...closedV4, ...closedV6, ...closedThoughGlobal])('%s (%s) is forbidden from end to end', (block) => {
  fc.assert(
    fc.property(addressIn(blockOf(block)), (address) => {
      expect(isForbiddenAddress(address)).toBe(true);
      expect(urlCheck(address)).toMatchObject({ kind: 'refused', code: 'BLOCKED_ADDRESS' });
    }),
  );
});

test.each(open)('%s (%s) is allowed from end to end', (block) => {
  fc.assert(
    fc.property(addressIn(blockOf(block)), (address) => {
      expect(isForbiddenAddress(address)).toBe(false);
      expect(urlCheck(address)).toMatchObject({ kind: 'ok' });
    }),
  );
});

test.each(closedV4)('just outside of %s (%s), only another entry forbids', (block) => {
  const { value, hostBits } = blockOf(block);
  const others = [...closedV4.map(([other]) => other), '168.63.129.16/32'].map(blockOf);
  for (const neighbour of [value - 1n, value + 2n ** hostBits]) {
    if (neighbour < 0n || neighbour >= 2n ** 32n) continue;
    const isListed = others.some((other) => other.value >> other.hostBits === neighbour >> other.hostBits);
    expect(isForbiddenAddress(textOf(4, neighbour))).toBe(isListed);
  }
});

/** The 32 bits of the address as the two groups of an IPv6 address. */
function groupsOf(v4: string): string {
  const { value } = blockOf(v4);
  return `${(value >> 16n).toString(16)}:${(value & 0xff_ffn).toString(16)}`;
}

describe('forms that carry an IPv4 address', () => {
  const carried: [form: string, carry: (v4: string) => string][] = [
    ['v4-mapped ::ffff:0:0/96 (RFC 4291 §2.5.5.2)', (v4) => `::ffff:${v4}`],
    ['v4-mapped in hexadecimal', (v4) => `::ffff:${groupsOf(v4)}`],
    ['NAT64 64:ff9b::/96 (RFC 6052 §2.1)', (v4) => `64:ff9b::${v4}`],
    ['NAT64 in hexadecimal', (v4) => `64:ff9b::${groupsOf(v4)}`],
    ['6to4 2002::/16 (RFC 3056 §2)', (v4) => `2002:${groupsOf(v4)}::1`],
    ['6to4 of a whole network', (v4) => `2002:${groupsOf(v4)}:ffff:ffff:ffff:ffff:ffff`],
    ['v4-compatible ::/96 (RFC 4291 §2.5.5.1)', (v4) => `::${v4}`],
    ['v4-translated ::ffff:0:0:0/96 (RFC 2765)', (v4) => `::ffff:0:${v4}`],
    ['NAT64 for local use 64:ff9b:1::/48 (RFC 8215)', (v4) => `64:ff9b:1::${v4}`],
  ];
  const forbidden = fc.constantFrom(...closedV4.map(([block]) => blockOf(block))).chain(addressIn);

  test.each(carried)('%s: what is forbidden as IPv4 is forbidden carried', (_form, carry) => {
    fc.assert(
      fc.property(forbidden, (v4) => {
        expect(isForbiddenAddress(v4)).toBe(true);
        expect(isForbiddenAddress(carry(v4))).toBe(true);
        expect(urlCheck(carry(v4))).toMatchObject({ kind: 'refused', code: 'BLOCKED_ADDRESS' });
      }),
    );
  });

  test.each(carried.slice(0, 6))('%s: what is public as IPv4 is public carried', (_form, carry) => {
    for (const v4 of ['1.1.1.1', '8.8.8.8', '93.184.216.34']) expect(isForbiddenAddress(carry(v4))).toBe(false);
  });
});
