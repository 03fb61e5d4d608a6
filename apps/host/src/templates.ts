import type { Template } from '@alcove/runtime';

/** The templates of this host's store: the seam to whatever keeps them. */
export interface Templates {
  /** Finds a template, looking at the disk again when it is not known. Rejects with `template.not_found`. */
  get(id: string): Promise<Template>;
  /** Those whose files were found whole. */
  list(): Promise<Template[]>;
}
