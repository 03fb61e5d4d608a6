import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '@alcove/base';
import type { ProblemCode } from '@alcove/contracts';
import { KeysService, KeyTree, platformOnly, type Providers, WrapsDb } from '@alcove/keys';
import { createRootKeyFile, FileKeyProvider, type KeyProvider } from '@alcove/vault';
import { asOwner, keysAppUrl, keysOwnerUrl } from '../db/database';

export interface ServiceOptions {
  readonly root?: KeyProvider;
  readonly providers?: Providers;
  readonly cacheSize?: number;
  readonly cacheMs?: number;
  readonly clock?: Clock;
}

/** Keys on the tests' database of wraps. Each service is another process: it has a cache of its own. */
export interface KeysRig {
  readonly folder: string;
  readonly db: WrapsDb;
  readonly root: FileKeyProvider;
  tree(options?: ServiceOptions): KeyTree;
  service(options?: ServiceOptions): KeysService;
  asOwner<T extends object>(sql: string, values?: unknown[]): Promise<T[]>;
  close(): Promise<void>;
}

export async function keysRig(): Promise<KeysRig> {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-keys-'));
  await createRootKeyFile(join(folder, 'root.key'));
  const root = await FileKeyProvider.open(join(folder, 'root.key'));
  const db = new WrapsDb({ url: keysAppUrl() });
  const tree: KeysRig['tree'] = ({ root: other = root, providers = platformOnly(other), cacheSize = 500, cacheMs = 60_000, clock = systemClock } = {}) =>
    new KeyTree(db, providers, { clock, cacheSize, cacheMs });
  return {
    folder,
    db,
    root,
    tree,
    service: (options) => new KeysService(tree(options)),
    asOwner: (sql, values = []) => asOwner(sql, values, keysOwnerUrl()),
    close: async () => {
      await db.close();
      await rm(folder, { recursive: true });
    },
  };
}

export const problemCode = (run: Promise<unknown>): Promise<ProblemCode | 'no problem'> => run.then(() => 'no problem' as const, (error: { code: ProblemCode }) => error.code);
