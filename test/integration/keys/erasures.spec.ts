import { type Clock, newId, systemClock } from '@alcove/base';
import { Problem, type SignedReceipt } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import type { KeyOwner } from '@alcove/keys';
import { everythingTwice, happenAt, type SagaTwist } from '@alcove/testing';
import { receiptText, verifyReceiptText } from '@alcove/vault';
import { openDb, until } from '../db/database';
import { newProcess, newUsers, type Process, receiptKey, Shelf, stateOf } from './erasure-world';
import { keysRig, type KeysRig, problemCode as code } from './rig';

let rig: KeysRig;
let db: Db;
let shelf: Shelf;
let ann: KeyOwner;
let bob: KeyOwner;
let one: Process;
const roomId = newId('room');
const steps = ['keys', 'inventory', 'purge', 'rewrap', 'receipt'];

const start = (options: { twist?: SagaTwist; clock?: Clock } = {}): Process => newProcess({ db, wraps: rig.db, root: rig.root, shelf }, options);
/** A clock that is ahead: another process, to which a lease of this one has run out. */
const later: Clock = { ...systemClock, now: () => systemClock.now() + 120_000 };

beforeAll(async () => {
  rig = await keysRig();
  db = openDb();
});
afterAll(async () => {
  await db.close();
  await rig.close();
});
beforeEach(async () => {
  const tenantId = await newUsers(db, ['ann', 'bob']);
  [ann, bob] = [{ tenantId, userId: 'ann' }, { tenantId, userId: 'bob' }];
  shelf = new Shelf();
  shelf.put(ann, 'diary');
  shelf.put(bob, 'letters');
  one = start();
});

/** What must be true of an erasure that is done, however it went. */
async function expectForgotten(process: Process, id: string, bobs: unknown): Promise<void> {
  const erasure = await process.erasures.get(ann);
  expect(erasure).toMatchObject({ id, userId: 'ann', state: 'done' });
  const verdict = verifyReceiptText(Buffer.from(receiptText(erasure.receipt as SignedReceipt)), receiptKey.publicKeyPem);
  expect(verdict).toMatchObject({
    verdict: 'genuine',
    receipt: {
      id,
      subject: ann,
      keys: [{ keyId: `user-key/${ann.tenantId}/ann/1`, version: 1 }],
      objects: [{ kind: 'record', id: 'diary', bytes: 5, sha256: 'ab'.repeat(32) }],
      evidence: [{ kind: 'sample', code: 'vault.key_unavailable' }],
      notCovered: expect.arrayContaining([expect.objectContaining({ what: expect.stringContaining('backups and logs') })]),
    },
  });
  expect(await stateOf(db, ann)).toBe('destroyed');
  expect(await code(process.keys.roomKeys(ann.tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
  expect(shelf.of(ann)).toEqual([]);
  expect(shelf.of(bob)).toHaveLength(1);
  expect(await start().keys.roomKeys(bob.tenantId, 'bob', roomId)).toEqual(bobs);
  const wraps = await rig.asOwner<{ state: string; wrapped: Buffer | null }>('select state, wrapped from tenant_kek where tenant_id = $1 order by version', [ann.tenantId]);
  expect(wraps[0]).toEqual({ state: 'retired', wrapped: null });
  expect(wraps.filter(({ state }) => state !== 'retired')).toHaveLength(1);
  const receipts = await rig.asOwner<{ receipt: unknown }>('select receipt from erasure_ledger where tenant_id = $1', [ann.tenantId]);
  expect(receipts).toEqual([{ receipt: erasure.receipt }]);
  const trail = await db.asSystem('test', (tx) => tx.auditRecord.findMany({ where: { tenantId: ann.tenantId }, orderBy: { seq: 'asc' } }));
  expect(trail.map(({ action }) => action)).toEqual(['user.destroy_keys', 'user.erased']);
}

async function keysOf(process: Process): Promise<unknown> {
  await process.keys.roomKeys(ann.tenantId, 'ann', roomId);
  return process.keys.roomKeys(bob.tenantId, 'bob', roomId);
}

const done = (process: Process): Promise<unknown> => until(() => process.erasures.proceed(ann));

it('forgets a user and leaves the others as they are', async () => {
  const bobs = await keysOf(one);
  const id = await one.destroy(ann);
  await done(one);
  await expectForgotten(one, id, bobs);
});

it('takes the keys away at once, while what was sealed under them cannot be removed yet', async () => {
  const bobs = await keysOf(one);
  shelf.away = 3;
  const id = await one.destroy(ann);
  await until(async () => (await one.erasures.get(ann)).state === 'purging');
  expect(await code(start().keys.roomKeys(ann.tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
  expect((await one.erasures.get(ann)).receipt).toBeNull();
  expect(await stateOf(db, ann)).toBe('destroying');
  await done(one);
  await expectForgotten(one, id, bobs);
});

it('ends with one receipt when it is asked for many times, in several processes', async () => {
  const bobs = await keysOf(one);
  const processes = [one, start(), start()];
  const ids = await Promise.all([...processes, ...processes].map((process) => process.destroy(ann)));
  expect(new Set(ids).size).toBe(1);
  await Promise.all(processes.map(done));
  await expectForgotten(one, ids[0] ?? '', bobs);
  expect(await one.destroy(ann)).toBe(ids[0]);
});

it('does each step twice and is through once', async () => {
  const process = start({ twist: everythingTwice });
  const bobs = await keysOf(process);
  const id = await process.destroy(ann);
  await done(process);
  await expectForgotten(process, id, bobs);
});

describe.each(steps.flatMap((name, step) => (['before', 'after'] as const).map((place) => ({ name, step, place }))))('when $name fails, $place it acts,', ({ step, place }) => {
  it('goes on after a failure that passes', async () => {
    const process = start({ twist: happenAt({ saga: 'user.erase', step, place, times: 1 }, () => Promise.reject(new Problem('unavailable', { retryAfterMs: 1 }))) });
    const bobs = await keysOf(process);
    const id = await process.destroy(ann);
    await done(process);
    await expectForgotten(process, id, bobs);
  });

  it('begins anew after one that does not', async () => {
    const process = start({ twist: happenAt({ saga: 'user.erase', step, place, times: 1 }, () => Promise.reject(new Error('on purpose'))) });
    const bobs = await keysOf(process);
    const id = await process.destroy(ann);
    await done(process);
    await expectForgotten(process, id, bobs);
  });

  it('is done by another process when this one dies', async () => {
    let died = false;
    const dying = start({ twist: happenAt({ saga: 'user.erase', step, place, times: 1 }, () => ((died = true), new Promise(() => undefined))) });
    const bobs = await keysOf(dying);
    const id = await dying.destroy(ann);
    await until(() => died);
    const other = start({ clock: later });
    await done(other);
    await expectForgotten(other, id, bobs);
  });
});

it('forgets a user who never had a key, and makes none for it', async () => {
  const id = await one.destroy(ann);
  await done(one);
  expect((await one.erasures.get(ann)).receipt).toMatchObject({ receipt: { id, evidence: [] } });
  expect(await code(one.keys.roomKeys(ann.tenantId, 'ann', roomId))).toBe('vault.key_unavailable');
});

it('is not kept from it by a wrap of somebody else that is damaged, and says so', async () => {
  await keysOf(one);
  await rig.asOwner(`update user_dek set wrapped = set_byte(wrapped, 40, get_byte(wrapped, 40) # 1) where tenant_id = $1 and user_id = 'bob'`, [ann.tenantId]);
  await one.destroy(ann);
  await done(one);
  expect((await one.erasures.get(ann)).receipt).toMatchObject({ receipt: { notCovered: expect.arrayContaining([expect.objectContaining({ what: expect.stringContaining('because 1 damaged') })]) } });
});

it('is not kept from it by a damaged wrap of the user itself', async () => {
  const bobs = await keysOf(one);
  await rig.asOwner(`update user_dek set wrapped = '\\x00' where tenant_id = $1 and user_id = 'ann'`, [ann.tenantId]);
  const process = start();
  await process.destroy(ann);
  await done(process);
  expect(await start().keys.roomKeys(bob.tenantId, 'bob', roomId)).toEqual(bobs);
  expect((await process.erasures.get(ann)).state).toBe('done');
});

it('shows no other tenant how far it is', async () => {
  await one.destroy(ann);
  await done(one);
  const stranger = await newUsers(db, ['ann']);
  expect(await code(one.erasures.get({ tenantId: stranger, userId: 'ann' }))).toBe('erasure.not_found');
});
