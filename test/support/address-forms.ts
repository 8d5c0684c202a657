import type { WebhookUrlProblem } from '../../src/domain/webhook-url.ts';

/** A way to write a URL that leads inside, or tries to. */
export interface AddressForm {
  /** With `PORT` where the port of a listener goes. */
  url: string;
  /** Why it is refused as it stands; `NAME` when only the addresses of its name tell. */
  code: WebhookUrlProblem | 'NAME';
  /** The listener that it leads to where loopback is allowed; null when it is not meant for this machine. */
  reaches: 4 | 6 | null;
}

/** Hosts that mean 127.0.0.0/8 or 0.0.0.0, all of which a listener on 0.0.0.0 hears. */
const loopbackV4 = [
  '127.0.0.1',
  '127.0.0.2',
  '127.255.255.254',
  '127.0.0.1.',
  '127.1',
  '127.0.1',
  '127.65534',
  '127.1.',
  '2130706433', // decimal
  '2130706433.',
  '017700000001', // octal
  '0177.0.0.01',
  '0177.1',
  '00000000177.0.0.1',
  '0x7f000001', // hexadecimal
  '0X7F000001',
  '0x7f.0x0.0x0.0x1',
  '0x7f.1',
  '0x7f.0.1.',
  '0177.0x0.0.1', // mixed
  '127.0x0.00.1',
  '0',
  '00',
  '0x',
  '0x0',
  '0.0',
  '0.0.0.0',
  '0.0.0.0.',
  '[::ffff:127.0.0.1]', // v4-mapped
  '[::ffff:7f00:1]',
  '[::FFFF:7F00:0001]',
  '[0:0:0:0:0:ffff:127.0.0.1]',
  '[0000:0000:0000:0000:0000:ffff:7f00:0001]',
  '[::ffff:0.0.0.0]',
  '１２７.０.０.１', // fullwidth digits
  '127．0．0．1', // fullwidth dots
  '127。0。0。1', // ideographic dots
  '127｡0｡0｡1', // their halfwidth form
  '①②⑦.⓪.⓪.①',
  '¹²⁷.⁰.⁰.¹',
  '𝟏𝟐𝟕.𝟎.𝟎.𝟏',
  '𝟶𝚡𝟽𝚏.𝟷',
  '127.0.0\u00ad.1', // soft hyphen
  '127.0.0.\u200b1', // zero-width space
  '127.0.0.1\u2060', // word joiner
  '%31%32%37.0.0.1',
  '127%2e0%2E0%2e1',
  '%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1',
  'localhost',
  'localhost.',
  'LOCALHOST',
  'LocalHost.',
  'foo.localhost',
  'foo.bar.LOCALHOST.',
  '127.0.0.1.localhost',
  'ⓛⓞⓒⓐⓛⓗⓞⓢⓣ',
  'ｌｏｃａｌｈｏｓｔ',
  'localhoſt', // long s
  'ℓocalhost',
  'local\u00adhost',
  'l%6fcalhost',
  'foo。localhost',
];

const loopbackV6 = [
  '[::1]',
  '[0:0:0:0:0:0:0:1]',
  '[0000:0000:0000:0000:0000:0000:0000:0001]',
  '[0::0:1]',
  '[::0.0.0.1]',
  '[::]',
  '[0:0:0:0:0:0:0:0]',
  '[::0.0.0.0]',
];

const elsewhereInside = [
  '[::127.0.0.1]', // v4-compatible
  '[::7f00:1]',
  '[::ffff:0:127.0.0.1]', // v4-translated
  '[64:ff9b::127.0.0.1]', // NAT64
  '[64:ff9b::7f00:1]',
  '[64:ff9b::10.0.0.1]',
  '[64:ff9b::a9fe:a9fe]',
  '[64:ff9b:1::127.0.0.1]', // NAT64 for local use
  '[64:ff9b:1::a9fe:a9fe]',
  '[64:ff9b:1:ffff::8.8.8.8]',
  '[2002:7f00:1::]', // 6to4
  '[2002:7f00:1::1]',
  '[2002:a9fe:a9fe::1]',
  '[2002:c0a8:1::]',
  '[2001::1]', // Teredo
  '[2001:0:4136:e378:8000:63bf:80ff:fffe]', // of 127.0.0.1
  '[fc00::1]', // unique local
  '[fd12:3456:789a::1]',
  '[fe80::1]', // link local
  '[febf::1]',
  '[fec0::1]', // site local
  '[ff02::1]', // multicast
  '[ff0e::1]',
  '[2001:db8::1]', // documentation
  '[3fff::1]',
  '[2001:2::1]', // benchmarking
  '[2001:10::1]', // ORCHID
  '[100::1]', // discard
  '[100:0:0:1::1]', // dummy
  '[5f00::1]', // segment routing
  '[4000::1]', // not assigned
  '10.0.0.1', // private use
  '10.1',
  '167772161',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.0.1',
  '192.168.257',
  '0xc0a80001',
  '100.64.0.1', // shared by carriers
  '192.0.0.1', // protocol assignments
  '192.0.0.171',
  '192.0.2.1', // documentation
  '198.51.100.1',
  '203.0.113.1',
  '192.88.99.1', // 6to4 relays
  '198.18.0.1', // benchmarking
  '198.19.255.255',
  '224.0.0.1', // multicast
  '239.255.255.255',
  '240.0.0.1', // class E
  '255.255.255.255', // broadcast
  '4294967295',
  '0xffffffff',
  '169.254.169.254', // metadata of AWS, Azure, Google
  '169.254.169.254.',
  '2852039166',
  '0xa9fea9fe',
  '0xa9.0xfe.0xa9.0xfe',
  '0251.0376.0251.0376',
  '025177524776',
  '169.254.43518',
  '169.16689662',
  '169。254。169。254',
  '１６９.２５４.１６９.２５４',
  '%31%36%39.254.169.254',
  '[::ffff:169.254.169.254]',
  '[::ffff:a9fe:a9fe]',
  '[fd00:ec2::254]', // of AWS over IPv6
  '[fd20:ce::254]', // of Google over IPv6
  '169.254.170.2', // of AWS's containers
  '100.100.100.200', // of Alibaba
  '192.0.0.192', // of Oracle
  '168.63.129.16', // of Azure
];

/** Hosts that are neither a name nor an address. */
const noHosts = [
  '256.0.0.1',
  '127.0.0.256',
  '127.0.0.1.1',
  '127.0.0.08',
  '4294967296',
  '0x100000000',
  '127..0.1',
  '.127.0.0.1',
  '0x7f.1..', // getaddrinfo takes what is left without the dots for 127.0.0.1
  '2130706433..',
  '017700000001...',
  'a..test',
  '.',
  '[127.0.0.1]',
  '[::127.1]',
  '[::ffff:0x7f.0.0.1]',
  '[::ffff:2130706433]',
  '[1::2::3]',
  '[::1',
  '::1',
  '[::1].',
  '[::1]x',
  '[[::1]]',
  '[::1%lo]', // zones
  '[::1%25lo]',
  '[fe80::1%25eth0]',
  '[fe80::1%251]',
  ' 127.0.0.1',
  '127.0.0.1 ',
  '127.0.\t0.1',
  '127.0.0.1\n',
  '127.0.0.1\r\n',
  '127.0.0.1\0',
  '127.0.0.1\u00a0',
  '127.0.0.1\u3000',
  '127.0.0.1%00',
  '127.0.0.1%09',
  '127.0.0.1%0a',
  '127.0.0.1%20',
  '127.0.0.1%2f',
  '127.0.0.1%3aPORT',
  'public.test%40127.0.0.1',
  'public.test%2f@127.0.0.1%5c',
  'public.test\\@127.0.0.1',
  'public.test%5c@127.0.0.1\\',
  '127.0.0.1^',
  '127.0.0.1|public.test',
  '<127.0.0.1>',
];

/** Whole URLs that are not of the form scheme, host, port, path. */
const tricks: [url: string, code: AddressForm['code'], reaches?: 4][] = [
  ['http://127.0.0.1:000PORT/', 'BLOCKED_ADDRESS', 4],
  ['http://@127.0.0.1:PORT/', 'BLOCKED_ADDRESS', 4],
  ['http://:@127.0.0.1:PORT/', 'BLOCKED_ADDRESS', 4],
  ['hTTp://127.0.0.1:PORT/', 'BLOCKED_ADDRESS', 4],
  ['http://127.0.0.1:PORT?public.test', 'BLOCKED_ADDRESS', 4],
  ['http://127.0.0.1:PORT/../../@public.test', 'BLOCKED_ADDRESS', 4],
  ['http://127.0.0.1/', 'BLOCKED_ADDRESS'],
  ['http://127.0.0.1:/', 'BLOCKED_ADDRESS'],
  ['https://127.1:PORT/', 'BLOCKED_ADDRESS'],
  ['https://[::ffff:7f00:1]:PORT/', 'BLOCKED_ADDRESS'],
  ['http://public.test@127.0.0.1:PORT/', 'CREDENTIALS_IN_URL'],
  ['http://public.test:80@127.0.0.1:PORT/', 'CREDENTIALS_IN_URL'],
  ['http://public.test:80%40127.0.0.1:PORT@[::1]:PORT/', 'CREDENTIALS_IN_URL'],
  ['http://public.test&@127.0.0.1:PORT/', 'CREDENTIALS_IN_URL'],
  ['http://127.0.0.1:PORT@public.test/', 'CREDENTIALS_IN_URL'],
  ['http://public.test#@127.0.0.1:PORT/', 'FRAGMENT_IN_URL'],
  ['http://127.0.0.1:PORT#.public.test/', 'FRAGMENT_IN_URL'],
  ['http://127.0.0.1:0/', 'INVALID_PORT'],
  ['http://127.0.0.1:PORT:80/', 'INVALID_URL'],
  ['http://127.0.0.1:65536/', 'INVALID_URL'],
  ['http://127.0.0.1:-1/', 'INVALID_URL'],
  ['http://127.0.0.1:+80/', 'INVALID_URL'],
  ['http://127.0.0.1:0x50/', 'INVALID_URL'],
  ['http://127.0.0.1:８０/', 'INVALID_URL'],
  ['http:\\\\127.0.0.1:PORT\\', 'INVALID_URL'],
  ['http:/\\127.0.0.1:PORT/', 'INVALID_URL'],
  ['http:/127.0.0.1:PORT/', 'INVALID_URL'],
  ['http:127.0.0.1:PORT/', 'INVALID_URL'],
  ['http:///127.0.0.1:PORT/', 'INVALID_URL'],
  ['http://?@127.0.0.1:PORT/', 'INVALID_URL'],
  ['//127.0.0.1:PORT/', 'INVALID_URL'],
  ['127.0.0.1:PORT', 'INVALID_URL'],
  ['\u0000http://127.0.0.1:PORT/', 'INVALID_URL'],
  ['ht\ntp://127.0.0.1:PORT/', 'INVALID_URL'],
  ['ftp://127.0.0.1:PORT/', 'INVALID_URL'],
  ['ws://127.0.0.1:PORT/', 'INVALID_URL'],
  ['file:///etc/passwd', 'INVALID_URL'],
  ['gopher://127.0.0.1:PORT/_', 'INVALID_URL'],
  ['http+unix://%2Frun%2Fdocker.sock/', 'INVALID_URL'],
  ['blob:http://127.0.0.1:PORT/', 'INVALID_URL'],
  ['http://public.test?@127.0.0.1:PORT/', 'NAME'],
  ['http://public.test/@127.0.0.1:PORT/', 'NAME'],
  ['http://127.0.0.1;public.test:PORT/', 'NAME'],
  ['http://127.0.0.1.public.test:PORT/', 'NAME'],
  ['http://127-0-0-1.public.test:PORT/', 'NAME'],
  ['http://localhost.localdomain:PORT/', 'NAME'],
  ['http://localhost.public.test:PORT/', 'NAME'],
  ['http://ip6-localhost:PORT/', 'NAME'],
  ['http://notlocalhost:PORT/', 'NAME'],
  ['http://0x7f.1.public.test:PORT/', 'NAME'],
  ['http://127.0.0.0x1g:PORT/', 'NAME'],
  ['http://kubernetes.default.svc:PORT/', 'NAME'],
  ['http://metadata.google.internal/computeMetadata/v1/', 'NAME'],
  ['http://METADATA.google.internal./', 'NAME'],
  ['http://metadata/', 'NAME'],
  ['http://instance-data.ec2.internal/latest/meta-data/', 'NAME'],
  ['https://metadata.google.internal/', 'NAME'],
];

function hosts(texts: readonly string[], code: AddressForm['code'], reaches: AddressForm['reaches']): AddressForm[] {
  return texts.map((host) => ({ url: `http://${host}:PORT/`, code, reaches }));
}

/** Every form, each once. */
export const addressForms: readonly AddressForm[] = [
  ...hosts(loopbackV4, 'BLOCKED_ADDRESS', 4),
  ...hosts(loopbackV6, 'BLOCKED_ADDRESS', 6),
  ...hosts(['localhost..', '127.0.0.1..', '169.254.169.254..'], 'BLOCKED_ADDRESS', null),
  ...hosts(elsewhereInside, 'BLOCKED_ADDRESS', null),
  ...hosts(noHosts, 'INVALID_URL', null),
  ...tricks.map(([url, code, reaches]) => ({ url, code, reaches: reaches ?? null })),
];

/** The form's URL for a listener on the port. */
export function urlOf(form: AddressForm, port: number): string {
  return form.url.replaceAll('PORT', String(port));
}
