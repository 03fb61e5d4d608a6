import { createHash } from 'node:crypto';
import type { Clock } from '@alcove/base';
import type { Audit } from '@alcove/audit';
import { isProblem, Problem, type SignedReceipt, UserId } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import type { Users } from '@alcove/identity';
import { defineSaga, type Saga, type StepContext } from '@alcove/jobs';
import { keyUnavailableReason } from '@alcove/vault';
import { z } from 'zod';
import type { KeyOwner } from './derivation';
import type { ErasePurge } from './erasure-ports';
import { changeErasure, type ErasureChange, type ErasureRow, findErasure, withObjects, writeReceipt } from './erasure-store';
import type { KekRotation } from './kek-rotation';
import { openSample, sealSample } from './erasure-sample';
import type { KeyTree } from './key-tree';
import type { WrapsDb } from './wraps';

/** Says, signed, what was erased. */
export interface Receipts {
  /** How long copies of the wraps may lie in backups, milliseconds. */
  readonly backupsKeptMs: number;
  /** `tried`: null for a user who had no key that could seal a sample. */
  issue(erasure: ErasureRow, tried: SampleTried | null): SignedReceipt;
}

/** That a sample does not open any more: its hash, and when it was tried. */
export interface SampleTried {
  readonly sha256: string;
  readonly at: Date;
}

export interface ErasureParts {
  readonly db: Db;
  readonly wraps: WrapsDb;
  readonly tree: KeyTree;
  readonly rotation: KekRotation;
  readonly users: Pick<Users, 'markDestroyed'>;
  readonly audit: Pick<Audit, 'append'>;
  readonly receipts: Receipts;
  readonly clock: Clock;
  /** Those registered by then. */
  readonly purges: readonly ErasePurge[];
}

const ErasureParams = z.strictObject({ userId: UserId });
export type ErasureParams = z.infer<typeof ErasureParams>;
type Context = StepContext<ErasureParams>;

const deadlineMs = 3600_000;
const againMs = 1_000;

/**
 * Forgetting a user. Fail closed first, then clean up, and only then say so:
 *
 *   keys       do: seal a sample; the user into the ledger beside the wraps and every version of the key destroyed, at once
 *   inventory  do: write down what there is that cannot be read any more
 *   purge      do: let every lib remove what it has; again until nothing is left
 *   rewrap     do: wrap the other users' keys under a new version of the tenant's key and retire those that could open the destroyed ones
 *   receipt    do: try to open the sample; sign; the user is gone
 *
 * Nothing is undone. A saga that gives up (a host is away for long) is followed by another one, which goes through the same steps: each is safe to do again.
 */
export function erasureSaga(parts: ErasureParts): Saga<ErasureParams> {
  return defineSaga({
    name: 'user.erase',
    params: ErasureParams,
    deadlineMs,
    steps: [
      { name: 'keys', do: (context) => destroyKeys(parts, context) },
      { name: 'inventory', do: (context) => takeInventory(parts, context) },
      { name: 'purge', do: (context) => purge(parts, context) },
      { name: 'rewrap', do: (context) => rewrap(parts, context) },
      { name: 'receipt', do: (context) => issueReceipt(parts, context) },
    ],
  });
}

async function destroyKeys(parts: ErasureParts, context: Context): Promise<void> {
  const owner = ownerOf(context);
  const row = await read(parts, owner);
  if (row.facts.sample === null && row.keysDestroyedAt === null) {
    const sample = await sealSample(parts.tree, owner);
    if (sample) await change(parts, owner, ({ facts }) => ({ facts: () => ({ ...facts, sample: facts.sample ?? sample.toString('base64') }) }));
  }
  const { versions, removed } = await parts.tree.erase(row);
  const live = (await parts.rotation.live(owner.tenantId)).map(({ version }) => version);
  const at = new Date(parts.clock.now());
  await parts.db.withTenantSql(owner.tenantId, async (tx) => {
    const keys = versions.map(({ version, destroyedAt }) => ({ keyId: `user-key/${owner.tenantId}/${owner.userId}/${version}`, version, destroyedAt: (destroyedAt ?? at).toISOString() }));
    await changeErasure(tx, owner, ({ keysDestroyedAt, facts }) => ({
      state: 'purging',
      keysDestroyedAt: keysDestroyedAt ?? at,
      facts: () => ({ ...facts, keys, kekVersions: keysDestroyedAt && removed === 0 ? facts.kekVersions : [...new Set([...facts.kekVersions, ...live])] }),
    }));
    if (row.keysDestroyedAt === null) await parts.audit.append(tx, { tenantId: owner.tenantId, actor: row.actor, action: 'user.destroy_keys', resource: `user:${owner.userId}`, facts: { erasureId: row.id, keyIds: keys.map(({ keyId }) => keyId) } });
  });
}

async function takeInventory(parts: ErasureParts, context: Context): Promise<void> {
  const owner = ownerOf(context);
  for (const { inventory } of parts.purges.map((purge) => ({ inventory: purge.inventory.bind(purge) }))) {
    const objects = await inventory(owner);
    await change(parts, owner, ({ facts }) => ({ facts: () => withObjects(facts, objects) }));
  }
  await change(parts, owner, ({ facts }) => ({ facts: () => ({ ...facts, inventoried: true }) }));
}

async function purge(parts: ErasureParts, context: Context): Promise<void> {
  const owner = ownerOf(context);
  const waiting: string[] = [];
  for (const one of parts.purges) {
    const { over, objects, notCovered } = await one.purge(owner);
    await change(parts, owner, ({ facts }) => ({ facts: () => withObjects(facts, objects, notCovered) }));
    if (!over) waiting.push(one.name);
  }
  if (waiting.length > 0) throw new Problem('unavailable', { detail: `not everything can be removed yet: ${waiting.join(', ')}`, retryAfterMs: againMs });
  await change(parts, owner, () => ({ state: 'rewrapping' }));
}

async function rewrap(parts: ErasureParts, context: Context): Promise<void> {
  const owner = ownerOf(context);
  const { tenantId } = owner;
  const { facts } = await read(parts, owner);
  try {
    const old = async (): Promise<number[]> => (await parts.rotation.live(tenantId)).map(({ version }) => version).filter((version) => facts.kekVersions.includes(version));
    for (const version of await old()) await parts.rotation.begin(tenantId, version);
    const damaged = await rewrapAll(parts, tenantId);
    await parts.rotation.retire(tenantId);
    const left = await old();
    if (left.length > 0 && damaged === 0) throw new Problem('unavailable', { detail: `versions ${left.join(', ')} of the tenant's key are still in use`, retryAfterMs: againMs });
    const what = `copies of the destroyed keys' wraps: versions ${left.join(', ')} of the tenant's key were not retired, because ${damaged} damaged wraps are under them`;
    const notes = left.length === 0 ? [] : [{ what, until: null }];
    await change(parts, owner, (row) => ({ facts: () => withObjects({ ...row.facts, retiredKekVersions: row.facts.kekVersions.filter((version) => !left.includes(version)) }, [], notes) }));
  } catch (error) {
    // Whoever took the tenant's key away keeps the others' from being wrapped again; the destroyed ones are as unreadable without it.
    if (keyUnavailableReason(error) !== 'denied') throw error;
    const what = "copies of the destroyed keys' wraps, for whoever has the tenant's key: its versions were not retired, because its provider refuses";
    await change(parts, owner, (row) => ({ facts: () => withObjects(row.facts, [], [{ what, until: null }]) }));
  }
}

/** How many wraps are damaged. */
async function rewrapAll(parts: ErasureParts, tenantId: string): Promise<number> {
  for (;;) {
    const { rewrapped, left, damaged } = await parts.rotation.rewrapBatch(tenantId);
    if (left === 0) return 0;
    if (rewrapped === 0 && damaged > 0) return damaged;
  }
}

async function issueReceipt(parts: ErasureParts, context: Context): Promise<void> {
  const owner = ownerOf(context);
  const row = await read(parts, owner);
  const sample = row.facts.sample === null ? null : Buffer.from(row.facts.sample, 'base64');
  const opened = await openSample(parts.tree, owner, sample).then(
    () => 'opened',
    (error: unknown) => (isProblem(error) ? error.code : 'internal'),
  );
  if (opened !== 'vault.key_unavailable') throw new Problem('internal', { detail: `a sample of an erased user was tried and ended with ${opened}` });
  const at = new Date(parts.clock.now());
  const ended = { ...row, endedAt: at };
  const tried = sample && { sha256: createHash('sha256').update(sample).digest('hex'), at };
  const receipt = row.receipt ?? (await parts.wraps.withTenantSql(owner.tenantId, (tx) => writeReceipt(tx, owner, parts.receipts.issue(ended, tried))));
  await parts.db.withTenantSql(owner.tenantId, async (tx) => {
    await changeErasure(tx, owner, ({ endedAt, facts }) => ({ state: 'done', endedAt: endedAt ?? at, receipt, facts: () => ({ ...facts, sample: null }) }));
    if (!(await parts.users.markDestroyed(tx, owner.tenantId, owner.userId))) return;
    await parts.audit.append(tx, { tenantId: owner.tenantId, actor: 'system', action: 'user.erased', resource: `user:${owner.userId}`, facts: { erasureId: row.id } });
  });
}

function ownerOf({ tenantId, params }: Context): KeyOwner {
  return { tenantId, userId: params.userId };
}

async function read(parts: ErasureParts, owner: KeyOwner): Promise<ErasureRow> {
  const row = await parts.db.withTenantSql(owner.tenantId, (tx) => findErasure(tx, owner));
  if (!row) throw new Problem('internal', { detail: 'an erasure without a row' });
  return row;
}

async function change(parts: ErasureParts, owner: KeyOwner, how: (row: ErasureRow) => ErasureChange): Promise<void> {
  await parts.db.withTenantSql(owner.tenantId, (tx) => changeErasure(tx, owner, how));
}
