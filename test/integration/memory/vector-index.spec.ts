import { Users } from '@alcove/identity';
import { MemoryUnits, OpenUsers, SealedVectorIndex } from '@alcove/memory';
import { describeVectorIndex } from '@alcove/testing';
import { memoryRig } from './rig';

describeVectorIndex('sealed', async () => {
  const rig = await memoryRig();
  const opened = new OpenUsers(1 << 28);
  const units = new MemoryUnits({ db: rig.db, keys: rig.keyService, users: new Users(), opened });
  return {
    index: new SealedVectorIndex(units),
    owner: () => rig.caller(),
    inTransaction: (owner, work) =>
      rig.db.withTenantSql(owner.tenantId, work).catch((error: unknown) => {
        opened.close(owner);
        throw error;
      }),
    close: () => rig.close(),
  };
});
