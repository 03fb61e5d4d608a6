/**
 * The one text of a JSON value (JSON Canonicalization Scheme, RFC 8785): members sorted by UTF-16 code units, no white space, numbers and strings as ECMAScript writes them.
 * Throws a TypeError for what JSON cannot say without loss: undefined, functions, NaN and infinities, integers beyond 2^53, lone surrogates, objects with a prototype of their
 * own; so what was signed is what is read.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return text(value);
  if (typeof value === 'number') return number(value);
  if (Array.isArray(value)) return `[${Array.from(value, canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || ![Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)) throw new TypeError(`${typeof value} has no canonical JSON`);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${text(name)}:${canonicalJson(member)}`).join(',')}}`;
}

function text(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('a lone surrogate has no canonical JSON');
  return JSON.stringify(value);
}

function number(value: number): string {
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) throw new TypeError(`${value} has no canonical JSON`);
  return JSON.stringify(value);
}
