import { stat } from 'node:fs/promises';
import type { Template } from '@alcove/runtime';

/** The templates of this host's store: the seam to whatever keeps them. */
export interface Templates {
  /** Finds a template whose files are whole. Rejects with `template.not_found`, or `image.corrupt` when a file is not what it was. */
  get(id: string): Promise<Template>;
  /** Those whose files were found whole. */
  list(): Promise<Template[]>;
}

/** The same templates, listed again only when something came to or went from their folder: every beat names them, and looking at a damaged one means hashing it. */
export function listedWhenChanged(store: Templates, folder: string): Templates {
  let listed: { stamp: number; templates: Promise<Template[]> } | null = null;
  return {
    get: (id) => store.get(id),
    list: async () => {
      const stamp = await stat(folder).then((found) => found.mtimeMs, () => 0);
      if (listed?.stamp !== stamp) listed = { stamp, templates: store.list() };
      const mine = listed;
      return mine.templates.catch((error: unknown) => {
        if (listed === mine) listed = null;
        throw error;
      });
    },
  };
}
