import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { createRootKeyFile } from '@alcove/vault';
import { CliFailure, exitCodes } from '../failure';
import type { HomePaths } from '../home';

/**
 * Makes the root key of a new home; true when it did. A home that was in use and has lost its key gets no other one: everything in it is sealed under the old one,
 * and a new key would only hide that until a room is opened. A home is in use
 * once it has a database. Throws CliFailure (78) then.
 */
export async function ensureRootKey(paths: Pick<HomePaths, 'home' | 'rootKey' | 'postgres'>): Promise<boolean> {
  if (await exists(paths.rootKey)) return false;
  if (await exists(join(paths.postgres, 'PG_VERSION'))) {
    throw new CliFailure(`the root key is missing: ${paths.rootKey} is not there, and every room in ${paths.home} is sealed under it`, {
      mend: `put the key back from your copy (mode 0600); without one, ${paths.home} can only be moved away and begun anew`,
      exitCode: exitCodes.configuration,
    });
  }
  await createRootKeyFile(paths.rootKey);
  return true;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
