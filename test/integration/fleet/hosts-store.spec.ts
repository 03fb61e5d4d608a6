import { MemoryHostsStore, PostgresHostsStore } from '@alcove/fleet';
import { describeHostsStore } from '@alcove/testing';
import { openDb } from '../db/database';

describeHostsStore('memory', async () => ({ store: new MemoryHostsStore(), close: async () => undefined }));

describeHostsStore('Postgres', async () => {
  const db = openDb();
  return { store: new PostgresHostsStore(db), close: () => db.close() };
});
