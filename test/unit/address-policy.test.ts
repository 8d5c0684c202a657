import { BlockList } from 'node:net';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isAddress, isForbiddenAddress, parseCidrs } from '../../src/domain/address-policy.ts';

const anyV4 = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)).map((bytes) => bytes.join('.'));
const anyV6 = fc
  .array(fc.nat(0xffff), { minLength: 8, maxLength: 8 })
  .map((groups) => groups.map((g) => g.toString(16)).join(':'));

/** As WHATWG URL writes it, which is how RFC 5952 says. */
function canonicalV6(text: string): string {
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

describe('IPv4', () => {
  test.each([
    '0.0.0.0',
    '0.255.255.255',
    '10.0.0.1',
    '100.64.0.1',
    '100.127.255.255',
    '127.0.0.1',
    '127.255.255.255',
    '168.63.129.16',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.0.9',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
  ])('%s is forbidden', (address) => {
    expect(isForbiddenAddress(address)).toBe(true);
  });

  test.each([
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.0',
    '168.63.129.15',
    '168.63.129.17',
    '169.253.255.255',
    '169.255.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.0.1.0',
    '192.167.255.255',
    '192.169.0.0',
    '198.17.255.255',
    '198.20.0.0',
    '203.0.112.255',
    '203.0.114.0',
    '223.255.255.255',
  ])('%s, beside or outside the registry, is allowed', (address) => {
    expect(isForbiddenAddress(address)).toBe(false);
  });

  test('the policy agrees with Node’s own range matching on any address', () => {
    const oracle = new BlockList();
    for (const [net, bits] of [
      ['0.0.0.0', 8],
      ['10.0.0.0', 8],
      ['100.64.0.0', 10],
      ['127.0.0.0', 8],
      ['168.63.129.16', 32],
      ['169.254.0.0', 16],
      ['172.16.0.0', 12],
      ['192.0.0.0', 24],
      ['192.0.2.0', 24],
      ['192.88.99.0', 24],
      ['192.168.0.0', 16],
      ['198.18.0.0', 15],
      ['198.51.100.0', 24],
      ['203.0.113.0', 24],
      ['224.0.0.0', 3],
    ] as const)
      oracle.addSubnet(net, bits);
    fc.assert(
      fc.property(anyV4, (address) => {
        expect(isForbiddenAddress(address)).toBe(oracle.check(address));
      }),
    );
  });
});

describe('IPv6', () => {
  test.each([
    '::',
    '::1',
    '::2',
    '100::1',
    '100:0:0:1::1',
    '2001::1',
    '2001:1::1',
    '2001:2::1',
    '2001:10::1',
    '2001:20::1',
    '2001:1ff::1',
    '2001:db8::1',
    '3fff::1',
    '3fff:fff::1',
    '5f00::1',
    'fc00::1',
    'fdff::1',
    'fe80::1',
    'fec0::1',
    'ff02::1',
    'ffff::1',
    '64:ff9b:1::808:808',
    '::808:808',
    '4000::1',
  ])('%s is forbidden', (address) => {
    expect(isForbiddenAddress(address)).toBe(true);
  });

  test.each(['2606:4700:4700::1111', '2001:4860:4860::8888', '2001:200::1', '2a00::1', '2620:4f:8000::1', '3ffe::1'])(
    '%s is allowed',
    (address) => {
      expect(isForbiddenAddress(address)).toBe(false);
    },
  );

  test('anything outside 2000::/3 that carries no IPv4 address is forbidden', () => {
    fc.assert(
      fc.property(anyV6, (address) => {
        const first = Number.parseInt(address.split(':')[0] ?? '', 16);
        fc.pre(first >>> 13 !== 1 && first !== 0 && first !== 0x64);
        expect(isForbiddenAddress(address)).toBe(true);
      }),
    );
  });

  test('v4-mapped, NAT64 and 6to4 forms are judged as the IPv4 address inside them', () => {
    fc.assert(
      fc.property(anyV4, (v4) => {
        const [a = 0, b = 0, c = 0, d = 0] = v4.split('.').map(Number);
        const high = (a * 256 + b).toString(16);
        const low = (c * 256 + d).toString(16);
        const forms = [
          `::ffff:${v4}`,
          `::ffff:${high}:${low}`,
          `64:ff9b::${v4}`,
          `64:ff9b::${high}:${low}`,
          `2002:${high}:${low}::1`,
        ];
        expect(forms.filter((form) => isForbiddenAddress(form) !== isForbiddenAddress(v4))).toEqual([]);
      }),
    );
  });

  test('Teredo and v4-compatible forms are forbidden whatever IPv4 address they hold', () => {
    fc.assert(
      fc.property(anyV4, (v4) => {
        expect(isForbiddenAddress(`::${v4}`)).toBe(true);
        expect(isForbiddenAddress(`2001:0:5ef5:79fb::${v4}`)).toBe(true);
      }),
    );
  });

  test('every spelling of an address is judged alike', () => {
    fc.assert(
      fc.property(anyV6, (address) => {
        const canonical = canonicalV6(address);
        expect(isAddress(canonical)).toBe(true);
        expect(isForbiddenAddress(canonical)).toBe(isForbiddenAddress(address));
        expect(isForbiddenAddress(address.toUpperCase())).toBe(isForbiddenAddress(address));
        const range = parseCidrs([canonical]);
        expect(isForbiddenAddress(address, range)).toBe(false);
      }),
    );
  });
});

test.each([
  '',
  ' ',
  '1.2.3',
  '1.2.3.4.5',
  '256.1.1.1',
  '01.2.3.4',
  '1.2.3.4 ',
  '0x7f.0.0.1',
  '2130706433',
  'example.com',
  ':',
  ':::',
  '1::2::3',
  '1:2:3:4:5:6:7',
  '1:2:3:4:5:6:7:8:9',
  '1:2:3:4:5:6:7:8::',
  '12345::',
  'g::',
  '1.2.3.4::',
  '::1.2.3.4:5',
  'fe80::1%eth0',
  '2606:4700::1%1',
  '[2606:4700::1]',
  '::1.2.3.256',
])('%j is no address, and therefore forbidden', (text) => {
  expect(isAddress(text)).toBe(false);
  expect(isForbiddenAddress(text)).toBe(true);
});

describe('allowed ranges', () => {
  test('an allowed range opens its addresses, in their IPv6 forms too, and no others', () => {
    const allowed = parseCidrs(['127.0.0.0/8', 'fd00::/8', ' 10.1.2.3 ']);
    const open = ['127.0.0.1', '::ffff:127.0.0.1', 'fd12::1', '10.1.2.3'];
    const shut = ['10.1.2.4', '::1', 'fc00::1', '169.254.169.254'];
    expect([...open, ...shut].filter((address) => !isForbiddenAddress(address, allowed))).toEqual(open);
  });

  test('0.0.0.0/0 opens IPv4 and leaves IPv6 shut', () => {
    const allowed = parseCidrs(['0.0.0.0/0']);
    expect(isForbiddenAddress('127.0.0.1', allowed)).toBe(false);
    expect(isForbiddenAddress('::1', allowed)).toBe(true);
  });

  test.each([
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/8/8',
    '::/129',
    'localhost',
    '',
    '10.0.0/8',
  ])('the text %j is refused by name', (text) => {
    expect(() => parseCidrs(['10.0.0.0/8', text])).toThrow(RangeError);
    expect(() => parseCidrs([text])).toThrow(JSON.stringify(text));
  });
});
