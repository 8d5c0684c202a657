import { inspect } from 'node:util';

const shown = '[secret]';

/** A value that logs, JSON and error messages show as `[secret]`; only `reveal` gives it. */
export class Secret<Value> {
  readonly #value: Value;

  constructor(value: Value) {
    this.#value = value;
  }

  reveal(): Value {
    return this.#value;
  }

  toString(): string {
    return shown;
  }

  toJSON(): string {
    return shown;
  }

  [inspect.custom](): string {
    return shown;
  }
}
