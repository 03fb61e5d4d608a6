import { limits } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { broken } from './problems';

/** `name · value` lists, the contents of OPEN, RESET and messages (PROTOCOL.md, "Frames"). A name may repeat. */
export type FieldList = readonly (readonly [name: string, value: string | number | bigint | Buffer])[];

/** Problem `request.too_large` when the whole is over 65,536 bytes or 1,024 fields: only what a caller passed in can be that long. */
export function encodeFields(list: FieldList): Buffer {
  const parts: Buffer[] = [];
  let total = 0;
  for (const [name, value] of list) {
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value), 'utf8');
    const head = Buffer.alloc(1 + name.length + 4);
    head[0] = name.length;
    head.write(name, 1, 'latin1');
    head.writeUInt32LE(bytes.length, 1 + name.length);
    parts.push(head, bytes);
    total += head.length + bytes.length;
  }
  if (list.length > limits.channel.fieldsCount || total > limits.channel.frameBytes) {
    throw new Problem('request.too_large', { detail: `arguments and environment together may have ${limits.channel.frameBytes} bytes` });
  }
  return Buffer.concat(parts, total);
}

/** A decoded message of the guest. Every getter throws `guest.protocol` when the field is not what the protocol says. */
export class Fields {
  readonly #bytes: number;
  readonly #entries: { name: string; value: Buffer }[] = [];

  /** Throws `guest.protocol` unless the payload is a list of fields within the limits. */
  constructor(payload: Buffer) {
    this.#bytes = payload.length;
    if (payload.length > limits.channel.frameBytes) throw broken('a message is too long');
    let at = 0;
    while (at < payload.length) {
      if (this.#entries.length === limits.channel.fieldsCount) throw broken('a message of too many fields');
      const nameEnd = at + 1 + nameLength(payload, at);
      if (nameEnd + 4 > payload.length) throw broken('a field is cut off');
      const name = payload.toString('latin1', at + 1, nameEnd);
      if (!/^[a-zA-Z][a-zA-Z0-9]*$/.test(name)) throw broken('a field has a bad name');
      const end = nameEnd + 4 + payload.readUInt32LE(nameEnd);
      if (end > payload.length) throw broken('a field is cut off');
      this.#entries.push({ name, value: payload.subarray(nameEnd + 4, end) });
      at = end;
    }
  }

  /** Of the whole payload. */
  get bytes(): number {
    return this.#bytes;
  }

  has(name: string): boolean {
    return this.#entries.some((entry) => entry.name === name);
  }

  /** The text of a field that may be there once; bytes that are not UTF-8 become U+FFFD. */
  optional(name: string, maxBytes: number): string | undefined {
    const found = this.#entries.filter((entry) => entry.name === name);
    if (found.length > 1) throw broken(`the field ${name} is there twice`);
    const value = found[0]?.value;
    if (value && value.length > maxBytes) throw broken(`the field ${name} is too long`);
    return value?.toString('utf8');
  }

  /** The texts of a field that may be there any number of times. Together they are no longer than the message. */
  all(name: string): string[] {
    return this.#entries.filter((entry) => entry.name === name).map(({ value }) => value.toString('utf8'));
  }

  /** A field that may be there any number of times, each `key=value`. Of several with one key the last one counts. */
  pairs(name: string): Record<string, string> {
    const split = (text: string): [string, string] => {
      const at = text.indexOf('=');
      if (at <= 0) throw broken(`the field ${name} is not key=value`);
      return [text.slice(0, at), text.slice(at + 1)];
    };
    return Object.fromEntries(this.all(name).map(split));
  }

  text(name: string, maxBytes: number): string {
    const value = this.optional(name, maxBytes);
    if (value === undefined) throw broken(`the field ${name} is missing`);
    return value;
  }

  /** A decimal number. Beyond 2^53 - 1 it is cut to that: a sparse file may claim to be of 2^63 bytes. */
  integer(name: string): number {
    const value = this.text(name, 20);
    if (!/^[0-9]+$/.test(value)) throw broken(`the field ${name} is not a number`);
    return Math.min(Number(value), Number.MAX_SAFE_INTEGER);
  }

  optionalInteger(name: string): number | undefined {
    return this.has(name) ? this.integer(name) : undefined;
  }

  /** A decimal number that may have a fraction. */
  decimal(name: string): number {
    const value = this.text(name, 16);
    if (!/^[0-9]+(\.[0-9]+)?$/.test(value)) throw broken(`the field ${name} is not a number`);
    return Number(value);
  }

  /** `1` is yes; absent, empty or `0` is no. */
  flag(name: string): boolean {
    const value = this.optional(name, 1) ?? '';
    if (value === '1') return true;
    if (value === '' || value === '0') return false;
    throw broken(`the field ${name} is not a flag`);
  }
}

function nameLength(payload: Buffer, at: number): number {
  const length = payload[at] ?? 0;
  if (length === 0 || length > limits.channel.fieldNameChars) throw broken('a field has a bad name');
  return length;
}
