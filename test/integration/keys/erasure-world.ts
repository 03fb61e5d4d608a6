import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { type Clock, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import type { ErasedObject } from '@alcove/contracts';
import { Db } from '@alcove/db';
import { Users } from '@alcove/identity';
import { PostgresOutbox, PostgresSagaStore } from '@alcove/jobs';
import { type ErasePurge, ErasureReceipts, Erasures, KekRotation, type KeyOwner, KeysService, KeyTree, platformOnly, WrapsDb } from '@alcove/keys';
import { type SagaTwist, TwistedRunner } from '@alcove/testing';
import { type KeyProvider, ReceiptKey } from '@alcove/vault';

/** Every process of a platform signs with the same. */
export const receiptKey = new ReceiptKey(generateKeyPairSync('ed25519').privateKey);

/** What a lib keeps of users, outside of any database: what is told of it must be true of what was there. */
export class Shelf implements ErasePurge {
  readonly name = 'shelf';
  readonly kept = new Map<string, ErasedObject>();
  /** How often it cannot remove anything yet. */
  away = 0;

  put({ tenantId, userId }: KeyOwner, id: string): void {
    this.kept.set(`${tenantId}/${userId}/${id}`, { kind: 'record', id, bytes: id.length, sha256: 'ab'.repeat(32) });
  }

  of({ tenantId, userId }: KeyOwner): ErasedObject[] {
    return [...this.kept].filter(([name]) => name.startsWith(`${tenantId}/${userId}/`)).map(([, object]) => object);
  }

  async inventory(owner: KeyOwner): Promise<ErasedObject[]> {
    return this.of(owner);
  }

  async purge(owner: KeyOwner): Promise<{ over: boolean; objects: ErasedObject[] }> {
    const objects = this.of(owner);
    if (this.away-- > 0) return { over: false, objects };
    for (const { id } of objects) this.kept.delete(`${owner.tenantId}/${owner.userId}/${id}`);
    return { over: true, objects };
  }
}

export interface Process {
  readonly keys: KeysService;
  readonly erasures: Erasures;
  readonly rotation: KekRotation;
  /** What the API does: marks the user and begins. Resolves with the erasure's id; the saga runs. */
  destroy(owner: KeyOwner): Promise<string>;
}

export interface ProcessOptions {
  readonly twist?: SagaTwist;
  readonly clock?: Clock;
}

/** One process of a platform on these databases. */
export function newProcess({ db, wraps, root, shelf }: { db: Db; wraps: WrapsDb; root: KeyProvider; shelf: Shelf }, { twist = (_saga, step) => step, clock = systemClock }: ProcessOptions = {}): Process {
  const tree = new KeyTree(wraps, platformOnly(root), { clock, cacheSize: 100, cacheMs: 60_000 });
  const users = new Users({ clock });
  const rotation = new KekRotation(wraps, tree, clock);
  const runner = new TwistedRunner(new PostgresSagaStore(db, new PostgresOutbox(db, clock, silentLog), clock), { clock, log: silentLog }, twist);
  const receipts = new ErasureReceipts(7 * 24 * 3600_000, receiptKey);
  const erasures = new Erasures({ db, wraps, tree, rotation, users, audit: new Audit(clock), runner, receipts, clock, log: silentLog });
  erasures.register(shelf);
  const destroy = async (owner: KeyOwner): Promise<string> => {
    const { id, go } = await db.withTenantSql(owner.tenantId, async (tx) => {
      await users.markDestroying(tx, owner.tenantId, owner.userId);
      return erasures.begin(tx, owner, 'test');
    });
    go();
    return id;
  };
  return { keys: new KeysService(tree), erasures, rotation, destroy };
}

/** A tenant with these users in the main database. */
export async function newUsers(db: Db, userIds: readonly string[]): Promise<string> {
  const tenantId = randomUUID();
  await db.asSystem('test', async (tx) => {
    await tx.tenant.create({ data: { id: tenantId, name: tenantId, roomsPerUser: 1, createdAt: new Date(0) } });
    for (const id of userIds) await tx.appUser.create({ data: { tenantId, id, state: 'active', createdAt: new Date(0), stateSince: new Date(0) } });
  });
  return tenantId;
}

export async function stateOf(db: Db, { tenantId, userId }: KeyOwner): Promise<string | undefined> {
  return (await db.asSystem('test', (tx) => tx.appUser.findFirst({ where: { tenantId, id: userId } })))?.state;
}
