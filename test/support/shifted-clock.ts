import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';

// Loaded before a process's own code (`shiftedClockEnv`), it sets that process's clock off by what a file says, as long as
// it runs: what `Date` tells is off, what the machine counts (`performance.now`, timers) is not.

const file = process.env['SHIFTED_CLOCK_FILE'];
const everyMs = 50;

if (file !== undefined) shiftBy(file);

/** The environment of a process whose clock is set by the file. */
export function shiftedClockEnv(path: string): Record<string, string> {
  return { NODE_OPTIONS: `--import=${import.meta.filename}`, SHIFTED_CLOCK_FILE: path };
}

/** Sets the clocks that follow the file, in milliseconds off the machine's. */
export async function setClock(path: string, offMs: number): Promise<void> {
  await writeFile(path, String(offMs));
}

function shiftBy(path: string): void {
  const Machine = Date;
  let offMs = Number(readFileSync(path, 'utf8'));
  setInterval(() => {
    const text = readFileSync(path, 'utf8');
    if (text !== '') offMs = Number(text);
  }, everyMs).unref();
  const now = (): number => Machine.now() + offMs;
  globalThis.Date = new Proxy(Machine, {
    construct: (target, args: [], newTarget: typeof Machine) =>
      Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as Date,
    apply: () => new Machine(now()).toString(),
    get: (target, name, receiver) => (name === 'now' ? now : (Reflect.get(target, name, receiver) as unknown)),
  });
}
