import type { NotCovered, SignedReceipt } from '@alcove/contracts';
import { type ReceiptKey, signReceipt } from '@alcove/vault';
import type { Receipts, SampleTried } from './erasure.saga';
import type { ErasureRow } from './erasure-store';

/** What no erasure reaches; nobody here knows until when. */
const never: readonly NotCovered[] = [
  { what: 'copies that the tenant or the user made', until: null },
  { what: 'what services outside were told, such as the provider of a model, and what they log', until: null },
  { what: 'bytes on hosts that were away: they are unreadable, and are removed when the host is back', until: null },
];

/** Makes and signs receipts. */
export class ErasureReceipts implements Receipts {
  constructor(
    readonly backupsKeptMs: number,
    private readonly key: ReceiptKey,
  ) {}

  issue({ id, tenantId, userId, facts, requestedAt, keysDestroyedAt, endedAt }: ErasureRow, tried: SampleTried | null): SignedReceipt {
    const destroyedAt = keysDestroyedAt ?? requestedAt;
    const until = new Date(destroyedAt.getTime() + this.backupsKeptMs).toISOString();
    return signReceipt(
      {
        version: 1,
        kind: 'erasure',
        id,
        subject: { tenantId, userId },
        startedAt: requestedAt.toISOString(),
        finishedAt: new Date(Math.max(requestedAt.getTime(), (endedAt ?? destroyedAt).getTime())).toISOString(),
        keys: facts.keys,
        objects: facts.objects,
        evidence: tried ? [{ kind: 'sample', id, sha256: tried.sha256, triedAt: tried.at.toISOString(), code: 'vault.key_unavailable' }] : [],
        notCovered: [{ what: "copies of the destroyed keys' wraps in backups and logs of their database, for whoever also has the root key", until }, ...never, ...facts.notCovered],
      },
      this.key,
    );
  }
}
