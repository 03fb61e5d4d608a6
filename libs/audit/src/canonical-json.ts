import type { Json } from '@alcove/db';

/**
 * One text for one value: keys sorted by UTF-16 code unit, no white space, numbers and strings as ECMAScript writes them (RFC 8785, JSON Canonicalization
 * Scheme). Members that are undefined are left out. Throws a TypeError for numbers that JSON has not.
 */
export function canonicalJson(value: Json): string {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError('not a JSON number');
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, member]) => `${JSON.stringify(key)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}
