import { randomBytes } from 'node:crypto';
import { isProblem } from '@alcove/contracts';
import { deriveSubkey, openValue, sealValue, wipe } from '@alcove/vault';
import type { KeyOwner } from './derivation';
import type { KeyTree, LentVersions } from './key-tree';

/** Seals random bytes under the user's key, so that it can be shown later that it does not open any more; undefined for a user who never had a key. */
export function sealSample(tree: KeyTree, owner: KeyOwner): Promise<Buffer | undefined> {
  return tree.lendExisting(owner, (keys) => withSampleKey(keys, (key) => sealValue(key, randomBytes(32), aad(owner)))).catch((error: unknown) => {
    // Destroyed already, damaged, or its key cannot be had now: then there is no sample, which the receipt says. It keeps nobody from being forgotten.
    if (isProblem(error)) return undefined;
    throw error;
  });
}

/** Tries to open it. Problem `vault.key_unavailable` once the keys are destroyed. */
export async function openSample(tree: KeyTree, owner: KeyOwner, sample: Buffer | null): Promise<void> {
  await tree.lend(owner, (keys) => withSampleKey(keys, (key) => sample && openValue(key, sample, aad(owner))));
}

function withSampleKey<T>(keys: LentVersions, use: (key: ReturnType<typeof deriveSubkey>) => T): T {
  const key = deriveSubkey(keys.key(keys.current), ['user', 'erasure.sample']);
  try {
    return use(key);
  } finally {
    wipe(key.expose());
  }
}

function aad({ tenantId, userId }: KeyOwner): string[] {
  return ['erasure.sample', tenantId, userId];
}
