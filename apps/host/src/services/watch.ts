import type { FileChange } from '@alcove/contracts';
import type { FileRights, GuestSession } from '@alcove/runtime';

/** Watches a folder: resolves when the watch stands, with what happens from then on. Leaving the loop ends the watch. Problems `file.not_found`, `file.kind`, `guest.limit`. */
export async function watchFolder(guest: GuestSession, path: string, options: FileRights & { recursive: boolean }, signal: AbortSignal): Promise<AsyncIterable<FileChange>> {
  const told = guest.watchFiles(path, options, signal)[Symbol.asyncIterator]();
  await told.next();
  return changes(told);
}

async function* changes(told: AsyncIterator<FileChange | null>): AsyncGenerator<FileChange, void, void> {
  try {
    for (;;) {
      const next = await told.next();
      if (next.done) return;
      if (next.value !== null) yield next.value;
    }
  } finally {
    await told.return?.();
  }
}
