import { type Clock, Secret, seededRandom, silentLog, systemClock } from '@alcove/base';
import { Users } from '@alcove/identity';
import { PostgresOutbox } from '@alcove/jobs';
import type { KeyOwner } from '@alcove/keys';
import { MemoryUnits, OpenUsers, QdrantIndex, qdrantIndex, QdrantPoints, SealedVectorIndex, sealedIndex, type VectorHit, type VectorQuery } from '@alcove/memory';
import { describeVectorIndex, QdrantEmulator, type VectorIndexUnderTest } from '@alcove/testing';
import type { SqlTx } from '@alcove/db';
import { memoryRig } from './rig';

async function sealed(clock: Clock = systemClock) {
  const rig = await memoryRig(clock);
  const opened = new OpenUsers(1 << 28);
  const users = new Users({ clock });
  const units = new MemoryUnits({ db: rig.db, keys: rig.keyService, users, opened });
  const index = new SealedVectorIndex(units);
  const inTransaction = <T>(owner: KeyOwner, work: (tx: SqlTx) => Promise<T>): Promise<T> =>
    rig.db.withTenantSql(owner.tenantId, work).catch((error: unknown) => {
      opened.close(owner);
      throw error;
    });
  const under: VectorIndexUnderTest = {
    kind: sealedIndex,
    owner: () => rig.caller(),
    upsert: (owner, space, vectors) => inTransaction(owner, (tx) => index.upsert(tx, owner, space, vectors)),
    remove: (owner, ids) => inTransaction(owner, (tx) => index.remove(tx, owner, ids)),
    search: (owner, space, query) => inTransaction(owner, (tx) => index.search(tx, owner, space, query)),
    dropUser: (owner) => inTransaction(owner, (tx) => index.dropUser(tx, owner)),
    close: () => rig.close(),
  };
  return { rig, units, users, under };
}

describeVectorIndex('sealed', async () => (await sealed()).under);

describe.each([{ clustered: false }, { clustered: true }])('clustered: $clustered', ({ clustered }) => {
  describeVectorIndex('qdrant', async () => {
    const { rig, units, users, under } = await sealed();
    const emulator = await QdrantEmulator.start({ clustered, apiKey: 'k' });
    const points = new QdrantPoints({ url: emulator.url, apiKey: new Secret('k') });
    const outbox = new PostgresOutbox(rig.db, systemClock, silentLog);
    const qdrant = new QdrantIndex({ db: rig.db, units, points, outbox, clock: systemClock, random: seededRandom(3), log: silentLog });
    const spaces = new Map<string, Set<string>>();
    const bring = async (owner: KeyOwner, add: readonly string[] = []): Promise<void> => {
      const known = spaces.get(`${owner.tenantId}/${owner.userId}`) ?? new Set();
      spaces.set(`${owner.tenantId}/${owner.userId}`, new Set([...known, ...add]));
      await rig.db.withTenantSql(owner.tenantId, (tx) => users.ensureUser(tx, owner.tenantId, owner.userId));
      await qdrant.bring(owner, [...known, ...add]);
    };
    const search = async (owner: KeyOwner, space: string, { vector, k, accepts = () => true }: VectorQuery): Promise<VectorHit[]> => {
      for (let limit = qdrant.firstLimit(k); ; ) {
        const candidates = await qdrant.ask(owner, space, vector, limit);
        if (!candidates) throw new Error('Qdrant was not asked');
        const hits = await units.reading(owner, (unit) => qdrant.rank(unit, candidates, { vector, k, accepted: async (ids) => ids.filter(accepts) }));
        if (hits === null) throw new Error('Qdrant was overtaken');
        if (typeof hits !== 'number') return hits;
        limit = hits;
      }
    };
    return {
      ...under,
      kind: qdrantIndex,
      upsert: async (owner, space, vectors) => {
        await under.upsert(owner, space, vectors);
        await bring(owner, [space]);
      },
      remove: async (owner, ids) => {
        await under.remove(owner, ids);
        await bring(owner);
      },
      // Whoever never wrote has nothing there, and so there is nothing to be asked.
      search: async (owner, space, query) => (spaces.get(`${owner.tenantId}/${owner.userId}`)?.has(space) ? search(owner, space, query) : under.search(owner, space, query)),
      dropUser: async (owner) => {
        const before = emulator.points().length;
        const dropped = await under.dropUser(owner);
        await bring(owner);
        expect(emulator.points().length).toBe(before - dropped);
        return dropped;
      },
      close: async () => {
        await emulator.close();
        await under.close();
      },
    };
  });
});
