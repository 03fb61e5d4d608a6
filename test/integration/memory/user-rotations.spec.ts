/** A new version of a user's key, and memory sealed again under it, whoever dies meanwhile. */
import { silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import type { Principal } from '@alcove/contracts';
import { Users } from '@alcove/identity';
import { KekRotation, KeysService, type Reseal, UserRotations } from '@alcove/keys';
import type { MemoryCaller } from '@alcove/memory';
import { asOwner, newTenant } from '../db/database';
import { fact, memoryRig, type MemoryRig, problem } from './rig';

let rig: MemoryRig;
let ann: MemoryCaller;
beforeAll(async () => {
  rig = await memoryRig();
});
afterAll(() => rig.close());
beforeEach(async () => {
  ann = await rig.caller();
});

/** Another process: it shares the databases and nothing else. */
function process_(wrap: (reseal: Reseal) => Reseal = (reseal) => reseal) {
  const tree = rig.keys.tree();
  const keys = new KeysService(tree);
  const memory = rig.service({ keys });
  const rotations = new UserRotations({ db: rig.db, wraps: rig.keys.db, tree, users: new Users({ clock: systemClock }), audit: new Audit(systemClock), clock: systemClock, log: silentLog });
  rotations.register(wrap(memory.reseal()));
  return { tree, keys, memory, rotations };
}
async function remembered(count: number, { memory }: ReturnType<typeof process_>): Promise<void> {
  await memory.addMany(ann, Array.from({ length: count }, (_, n) => fact(`tea number ${n}`)));
}
const hits = async ({ memory }: ReturnType<typeof process_>): Promise<number> => (await memory.search(ann, { query: 'tea', k: 50 })).hits.length;
const versions = () => rig.keys.asOwner<{ version: number; state: string }>('select version, state from user_dek where tenant_id = $1 order by version', [ann.tenantId]);
const underOld = async (): Promise<number> => {
  let rows = 0;
  for (const table of ['memory_record', 'memory_version', 'memory_event', 'memory_segment', 'memory_head']) rows += (await asOwner(`select 1 from ${table} where tenant_id = $1 and key_version = 1`, [ann.tenantId])).length;
  return rows;
};
const admin = (tenantId: string, scopes: Principal['scopes'] = ['users:write']): Principal => ({ kind: 'key', keyId: 'key_0', tenantId, scopes, ratePerSecond: 1, concurrent: 1 }) as Principal;

it('seals memory again under a new version, leaves what rooms have, and is one however often it is asked for', async () => {
  const [here, other] = [process_(), process_()];
  await remembered(30, here);
  const room = await here.keys.roomKeys(ann.tenantId, 'ann', 'room_00000000000000000001');
  const started = await here.rotations.rotate(admin(ann.tenantId), 'ann');
  expect(started).toMatchObject({ state: 'running', resealed: 0, error: null, endedAt: null });
  expect((await Promise.all([here, other, here].map((one) => one.rotations.start(ann)))).map(({ id }) => id)).toEqual(Array(3).fill(started.id));
  expect(await versions()).toEqual([{ version: 1, state: 'decrypt_only' }, { version: 2, state: 'active' }]);
  expect(await hits(other)).toBe(30);
  await other.rotations.advance(1000);
  const ended = await here.rotations.rotation(admin(ann.tenantId), 'ann', started.id);
  expect(ended).toMatchObject({ state: 'done', error: null });
  expect(ended.resealed).toBeGreaterThanOrEqual(30);
  expect(await underOld()).toBe(0);
  expect(await hits(process_())).toBe(30);
  expect(await process_().keys.roomKeys(ann.tenantId, 'ann', 'room_00000000000000000001')).toEqual(room);
  expect((await here.rotations.start(ann)).id).not.toBe(started.id);
  expect(await versions()).toHaveLength(3);
});

it('many who begin at once make one version', async () => {
  await remembered(1, process_());
  const ids = await Promise.all(Array.from({ length: 6 }, async () => (await process_().rotations.start(ann)).id));
  expect(new Set(ids).size).toBe(1);
  expect(await versions()).toHaveLength(2);
});

it('goes on where a process died, before and after every part', async () => {
  await remembered(30, process_());
  const { id } = await process_().rotations.start(ann);
  const dying = (when: 'before' | 'after'): ReturnType<typeof process_> =>
    process_((reseal) => ({
      name: reseal.name,
      reseal: async (owner) => {
        if (when === 'before') throw new Error('died');
        await reseal.reseal(owner);
        throw new Error('died');
      },
    }));
  for (const when of ['before', 'after', 'before', 'after'] as const) {
    await expect(dying(when).rotations.advance(1000)).rejects.toThrow('died');
    expect(await process_().rotations.get(ann, id)).toMatchObject({ state: 'running' });
    expect(await hits(process_())).toBe(30);
  }
  await Promise.all([process_().rotations.advance(1000), process_().rotations.advance(1000)]);
  expect(await process_().rotations.get(ann, id)).toMatchObject({ state: 'done' });
  expect(await underOld()).toBe(0);
  expect(await hits(process_())).toBe(30);
});

it("bears a rotation of the tenant's key meanwhile", async () => {
  const here = process_();
  await remembered(5, here);
  const { id } = await here.rotations.start(ann);
  const kek = new KekRotation(rig.keys.db, here.tree, systemClock);
  await kek.begin(ann.tenantId, 1);
  while ((await kek.rewrapBatch(ann.tenantId)).left > 0);
  await kek.retire(ann.tenantId);
  await here.rotations.advance(1000);
  expect(await here.rotations.get(ann, id)).toMatchObject({ state: 'done' });
  expect(await hits(process_())).toBe(5);
  await process_().rotations.start(ann);
  expect(await hits(process_())).toBe(5);
});

it('ends when the user is destroyed, and makes no key for one who was', async () => {
  const here = process_();
  await remembered(2, here);
  const { id } = await here.rotations.start(ann);
  await here.keys.destroyUserKeys(ann);
  await here.rotations.advance(1000);
  expect(await here.rotations.get(ann, id)).toMatchObject({ state: 'failed', error: 'the key of this user was destroyed' });
  expect(await problem(here.rotations.start(ann))).toBe('vault.key_unavailable');
  expect((await versions()).map(({ state }) => state)).toEqual(['destroyed', 'destroyed']);
});

it('is for the own tenant, with the scope for it', async () => {
  const here = process_();
  await remembered(1, here);
  const { id } = await here.rotations.start(ann);
  const stranger = admin(await newTenant(rig.db));
  expect(await problem(here.rotations.rotate(stranger, 'ann'))).toBe('user.not_found');
  expect(await problem(here.rotations.rotation(stranger, 'ann', id))).toBe('user.not_found');
  expect(await problem(here.rotations.rotate(admin(ann.tenantId, ['rooms:write']), 'ann'))).toBe('auth.scope');
  expect(await versions()).toHaveLength(2);
});
