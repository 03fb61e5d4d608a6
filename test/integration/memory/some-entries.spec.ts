import { newId } from '@alcove/base';
import { Users } from '@alcove/identity';
import type { KeyOwner } from '@alcove/keys';
import { exactDot, MemoryUnits, OpenUsers, SealedVectorIndex } from '@alcove/memory';
import { unitVectors } from '@alcove/testing';
import { exactScores } from '../../../libs/memory/src/sealed/exact-scores';
import { asOwner } from '../db/database';
import { memoryRig, type MemoryRig, problem } from './rig';

const space = 'c'.repeat(32);
const vectors = unitVectors(1400, 21);
const ids = vectors.map(() => newId('mem'));
const query = vectors[7] ?? new Float32Array();
let rig: MemoryRig;
let ann: KeyOwner;
let opened: OpenUsers;
let units: MemoryUnits;
let index: SealedVectorIndex;

beforeAll(async () => {
  rig = await memoryRig();
  const users = new Users();
  opened = new OpenUsers(1 << 28);
  units = new MemoryUnits({ db: rig.db, keys: rig.keyService, users, opened });
  index = new SealedVectorIndex(units);
});
beforeEach(async () => {
  ann = await rig.caller();
  await rig.db.withTenantSql(ann.tenantId, (tx) => new Users().ensureUser(tx, ann.tenantId, ann.userId));
  // Segments, and some that still lie by themselves, one of them newer than what its segment has.
  for (let at = 0; at < 1300; at += 130) await put(at, at + 130);
  await put(1300, 1340);
  await put(5, 6, 2, 1399);
  opened.close(ann);
});
afterAll(() => rig.close());

const put = (from: number, to: number, version = 1, as = from): Promise<void> =>
  rig.db.withTenantSql(ann.tenantId, (tx) => index.upsert(tx, ann, space, ids.slice(from, to).map((id, n) => ({ id, version, vector: vectors[as + n] ?? new Float32Array() }))));
const scores = (of: readonly number[]): Promise<Map<string, number>> =>
  units.reading(ann, async (unit) => new Map((await exactScores(unit, space, of.map((n) => ids[n] ?? ''), query)).map(({ id, score }) => [id, score])));
const segments = () => asOwner<{ number: number; seq: string; sealed: Buffer }>(`select number, seq, sealed from memory_segment where tenant_id = $1 and stream like 'vectors/%' order by number`, [ann.tenantId]);

it('scores a few vectors exactly and keeps nothing open of them', async () => {
  expect((await segments()).length).toBeGreaterThan(2);
  const found = await scores([3, 1310]);
  expect(found).toEqual(new Map([3, 1310].map((n) => [ids[n], exactDot(query, vectors[n] ?? query)])));
  expect(opened.get(ann).stream(`vectors/${space}`).bytes).toBeLessThan(100_000);
  expect(opened.get(ann).stream(`vectors/${space}`).seq).toBe(-1);
});

it('takes the newest of a record, and none of one that is not there', async () => {
  expect(await scores([5])).toEqual(new Map([[ids[5], exactDot(query, vectors[1399] ?? query)]]));
  expect(await scores([1390])).toEqual(new Map());
  await rig.db.withTenantSql(ann.tenantId, (tx) => index.remove(tx, ann, [ids[3] ?? '']));
  opened.close(ann);
  expect(await scores([3])).toEqual(new Map());
});

it('says the same when it opens the whole', async () => {
  const few = new Map([...(await scores([2, 600])), ...(await scores([1200, 1320]))]);
  expect(await scores([2, 600, 1200, 1320])).toEqual(few);
});

it('refuses a segment that was put back, though it is not one that it opens', async () => {
  const before = await segments();
  for (let n = 0; n < 130; n++) await put(n, n + 1, 3, n + 100);
  const after = await segments();
  const old = before.find(({ number, seq }) => after.some((one) => one.number === number && one.seq !== seq));
  opened.close(ann);
  expect((await scores([1310])).size).toBe(1);
  await asOwner(`update memory_segment set seq = $3, sealed = $4 where tenant_id = $1 and stream like 'vectors/%' and number = $2`, [ann.tenantId, old?.number, old?.seq, old?.sealed]);
  opened.close(ann);
  expect(await problem(scores([1310]))).toBe('memory.rolled_back');
});

it('refuses one whose bytes were changed', async () => {
  await asOwner(`update memory_segment set sealed = set_byte(sealed, 200, 255 - get_byte(sealed, 200)) where tenant_id = $1 and stream like 'vectors/%' and number = 0`, [ann.tenantId]);
  expect(await problem(scores([3]))).toBe('vault.corrupt');
});
