import { limits } from '@alcove/base';
import { type FileChange, Problem } from '@alcove/contracts';
import { onAbort } from '../../guest-channel/on-abort';
import { Wake } from '../../guest-channel/wake';
import { type FakeFiles, relative } from './files';

/** GuestSession.watchFiles over a fake disk. */
export async function* watchFolder(files: FakeFiles, folder: string, recursive: boolean, signal: AbortSignal): AsyncGenerator<FileChange | null, void, void> {
  if (files.stat(folder, true).kind !== 'directory') throw new Problem('file.kind', { detail: `${folder} is not a folder` });
  const waiting: FileChange[] = [];
  const changed = new Wake();
  let failure: Error | undefined;
  const below = folder === '/' ? '/' : `${folder}/`;
  const unwatch = files.watch((full, change) => {
    if (full !== folder && !full.startsWith(below)) return;
    // Of the folder itself only its end is told.
    if (full === folder && change !== 'remove' && change !== 'rename') return;
    const name = full === folder ? '.' : relative(folder, full);
    if (!recursive && name.includes('/')) return;
    if (waiting.length >= limits.files.watchQueue) failure ??= new Problem('guest.limit', { detail: 'more changes than are kept' });
    else waiting.push({ name, change });
    changed.notify();
  });
  const unlisten = onAbort(signal, (reason) => {
    failure = reason;
    changed.notify();
  });
  try {
    yield null;
    for (;;) {
      if (failure) throw failure;
      const change = waiting.shift();
      if (change) yield change;
      else await changed.wait();
    }
  } finally {
    unlisten();
    unwatch();
  }
}
