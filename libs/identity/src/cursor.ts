import { Problem } from '@alcove/contracts';

/** Where a page ended, as an opaque text. */
export function encodeCursor(parts: readonly string[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/** The parts of a cursor. Problem `request.invalid` unless it is one of ours, of that many parts. */
export function decodeCursor(cursor: string, count: number): string[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(parts) && parts.length === count && parts.every((part) => typeof part === 'string' && !part.includes('\0'))) return parts as string[];
  } catch {
    // Not JSON: refused below like everything else that is not a cursor.
  }
  throw new Problem('request.invalid', { errors: [{ path: 'query.cursor', message: 'not a cursor of this list' }] });
}
