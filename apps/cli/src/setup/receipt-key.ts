import { access } from 'node:fs/promises';
import { createReceiptKeyFile } from '@alcove/vault';
import type { HomePaths } from '../home';

/**
 * Makes the key that signs receipts; true when it did. A home that has lost it gets another one: nothing is sealed under it, and receipts of the old one are verified with its
 * public key, which whoever holds such a receipt should have kept.
 */
export async function ensureReceiptKey({ receiptKey }: Pick<HomePaths, 'receiptKey'>): Promise<boolean> {
  const there = await access(receiptKey).then(
    () => true,
    () => false,
  );
  if (!there) await createReceiptKeyFile(receiptKey);
  return !there;
}
