const inspect = Symbol.for('nodejs.util.inspect.custom');

/** A value that must not reach a log, an error or a JSON answer by accident. Call expose() only where it is used. */
export class Secret<T> {
  readonly #value: T;
  constructor(value: T) {
    this.#value = value;
  }
  expose(): T {
    return this.#value;
  }
  toString(): string {
    return '[secret]';
  }
  toJSON(): string {
    return '[secret]';
  }
  [inspect](): string {
    return '[secret]';
  }
}
