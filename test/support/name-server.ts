import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { parseCidrs } from '../../src/domain/address-policy.ts';

/** A record of an answer; a CNAME's value is the name that it points to. */
export interface NameRecord {
  name: string;
  type: 'A' | 'AAAA' | 'CNAME';
  value: string;
}

/** A DNS server on loopback, over UDP. */
export interface NameServer extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  address: string;
  /** Every question so far, as in `A example.com`. */
  questions: string[];
}

const typeNumbers = { A: 1, CNAME: 5, AAAA: 28 } as const;

/**
 * Starts a name server. `answer` gives the records for a question of the type A or AAAA, with the CNAMEs that lead to
 * them as a recursive server does; none says that the name has no such records, and null is not to answer at all.
 */
export async function startNameServer(
  answer: (name: string, type: 'A' | 'AAAA') => readonly NameRecord[] | null,
): Promise<NameServer> {
  const questions: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const { name, typeNumber, end } = questionOf(query);
    const type = typeNumber === typeNumbers.A ? 'A' : 'AAAA';
    questions.push(`${type} ${name}`);
    const records = answer(name, type);
    if (records !== null) socket.send(response(query, end, records), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions,
    [Symbol.asyncDispose]: async () => {
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    },
  };
}

/** The query's only question, and where it ends. Source: RFC 1035 §4.1. */
function questionOf(query: Buffer): { name: string; typeNumber: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), typeNumber: query.readUInt16BE(at + 1), end: at + 5 };
}

function response(query: Buffer, questionEnd: number, records: readonly NameRecord[]): Buffer {
  const head = Buffer.alloc(12);
  query.copy(head, 0, 0, 2); // the id
  head.writeUInt16BE(0x8180, 2); // an answer without error, recursion available
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, query.subarray(12, questionEnd), ...records.map(recordBytes)]);
}

function recordBytes({ name, type, value }: NameRecord): Buffer {
  const data = type === 'CNAME' ? nameBytes(value) : addressBytes(value);
  const middle = Buffer.alloc(10); // type, class, time to live (0: not to be kept), length
  middle.writeUInt16BE(typeNumbers[type], 0);
  middle.writeUInt16BE(1, 2);
  middle.writeUInt16BE(data.length, 8);
  return Buffer.concat([nameBytes(name), middle, data]);
}

function nameBytes(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label, 'latin1')]));
  return Buffer.concat([...labels, Buffer.alloc(1)]);
}

function addressBytes(text: string): Buffer {
  const [range] = parseCidrs([text]);
  if (range === undefined) throw new Error(`no address: ${text}`);
  return Buffer.from(range.value.toString(16).padStart(range.prefixBits / 4, '0'), 'hex');
}
