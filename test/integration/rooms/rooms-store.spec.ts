import { MemoryRoomsStore, PostgresRoomsStore } from '@alcove/rooms';
import { Users } from '@alcove/identity';
import type { MemoryScope } from '@alcove/jobs';
import { describeRoomsStore, freeTenant } from '@alcove/testing';
import { newTenant, openDb } from '../db/database';

describeRoomsStore<MemoryScope | undefined>('memory', async () => {
  const marks = new Set<string>();
  return {
    store: new MemoryRoomsStore(),
    newTenant: freeTenant,
    admit: async () => undefined,
    mark: async (scope, tenantId, name) => {
      marks.add(tenantId + name);
      scope?.onRollback(() => marks.delete(tenantId + name));
    },
    marked: async (tenantId, name) => marks.has(tenantId + name),
    close: async () => undefined,
  };
});

describeRoomsStore('Postgres', async () => {
  const db = openDb();
  const users = new Users();
  return {
    store: new PostgresRoomsStore(db),
    newTenant: () => newTenant(db),
    admit: async (tx, tenantId, userId) => void (await users.ensureUser(tx, tenantId, userId)),
    mark: async (tx, tenantId, name) => void (await users.ensureUser(tx, tenantId, `mark-${name}`)),
    marked: (tenantId, name) => db.withTenant(tenantId, async (tx) => (await tx.appUser.count({ where: { tenantId, id: `mark-${name}` } })) === 1),
    close: () => db.close(),
  };
});
