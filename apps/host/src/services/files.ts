import type { Readable } from 'node:stream';
import { limits } from '@alcove/base';
import { type FileReadQuery, type FileWriteQuery, isProblem, Problem } from '@alcove/contracts';
import type { FileRights, GuestSession } from '@alcove/runtime';
import { countedBody, exactBody, quieted } from '../http/body';

/** A file, or a part of one, that is being read. `close` must be called, also after the body's end. */
export interface OpenFile {
  /** Of the whole file, as the guest says. */
  size: number;
  mode: string;
  modifiedAt: string;
  /** How many bytes the body has; null where that is not known before (a size of 0, as in /proc). A body that falls short of it fails with `guest.io`. */
  length: number | null;
  body: Readable;
  close(): void;
}

/** Opens a file for reading, no faster than it is read. Problems `file.*`, and `request.too_large` for more than `limits.http.fileBytes` at once. */
export async function openFile(guest: GuestSession, order: FileReadQuery, signal: AbortSignal, rights?: FileRights): Promise<OpenFile> {
  const file = await guest.readFile(order, signal, rights);
  quieted(file.body);
  const left = Math.max(0, file.size - (order.offset ?? 0));
  const length = file.size === 0 ? null : Math.min(left, order.length ?? left);
  if (length !== null && length > limits.http.fileBytes) {
    file.body.destroy();
    throw new Problem('request.too_large', { detail: `at most ${limits.http.fileBytes} bytes at once: ask for a part` });
  }
  const body = length === null ? countedBody(file.body, limits.http.fileBytes) : exactBody(file.body, length);
  return { size: file.size, mode: file.mode, modifiedAt: file.modifiedAt, length, body, close: () => void file.body.destroy() };
}

/** The text of a file that the platform itself wants to know, read as root; null where there is none. Problems `request.too_large` beyond `bytesMax`, `file.kind`. */
export async function readSmallFile(guest: Pick<GuestSession, 'readFile'>, path: string, bytesMax: number, signal: AbortSignal): Promise<string | null> {
  const file = await guest.readFile({ path }, signal, { user: 'root' }).catch((error: unknown) => {
    if (isProblem(error, 'file.not_found')) return null;
    throw error;
  });
  if (!file) return null;
  try {
    return Buffer.concat((await countedBody(quieted(file.body), bytesMax).toArray()) as Buffer[]).toString('utf8');
  } finally {
    // A guest that goes on sending would keep its stream for as long as the room runs.
    file.body.destroy();
  }
}

/** Writes a file of at most `limits.http.fileBytes`, all of it or nothing. Problems `file.*`, `request.too_large`. */
export function storeFile(guest: GuestSession, order: FileWriteQuery, body: Readable, signal: AbortSignal, rights?: FileRights & { metadata?: Readonly<Record<string, string>> }): Promise<{ size: number }> {
  return guest.writeFile(order, countedBody(body, limits.http.fileBytes), signal, rights);
}
