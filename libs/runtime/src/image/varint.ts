/** Unsigned LEB128 (DWARF 5, 7.6): seven bits a byte, the highest bit says that more follow. */
export function pushVarint(into: number[], value: number): void {
  let rest = value;
  while (rest >= 0x80) {
    into.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  into.push(rest);
}

/** Reads numbers of up to 35 bits one after the other; undefined when the bytes end or a number is longer. */
export class VarintReader {
  at = 0;
  readonly #bytes: Buffer;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  next(): number | undefined {
    let value = 0;
    for (let factor = 1; factor <= 0x80 ** 4; factor *= 0x80) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) return undefined;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    return undefined;
  }
}
