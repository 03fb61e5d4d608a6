import { appRole } from '@alcove/db';
import { assertSchemaCompatibility, runMigrations } from 'bullmq';
import { Client } from 'pg';
import { defaultQueueSchema, type QueueBackend } from './bull-queue';

/** Creates or upgrades BullMQ's tables as their owner and lets the application's role use them. To end before any queue or worker starts. Returns their version. */
export async function migrateJobs(ownerUrl: string, schema: string = defaultQueueSchema): Promise<number> {
  const client = new Client({ connectionString: ownerUrl, application_name: 'alcove-migrate' });
  await client.connect();
  try {
    const version = await runMigrations(client, schema);
    const name = client.escapeIdentifier(schema);
    const role = client.escapeIdentifier(appRole);
    await client.query(`
      grant usage on schema ${name} to ${role};
      grant select, insert, update, delete on all tables in schema ${name} to ${role};
      grant usage, select on all sequences in schema ${name} to ${role};
      grant execute on all functions in schema ${name} to ${role}`);
    return version;
  } finally {
    await client.end();
  }
}

/**
 * Rejects when the queue's tables cannot be reached or are of another version. Call it before anything starts, and on failure exit with code 75 (EX_TEMPFAIL of
 * sysexits.h) to be started again: BullMQ 6.7 remembers a failed first connection for ever, and a worker on tables that were not migrated spins.
 */
export async function assertJobsReady(backend: QueueBackend): Promise<void> {
  if (backend.kind === 'redis') return;
  const client = new Client({ connectionString: backend.url, connectionTimeoutMillis: 3_000 });
  try {
    await client.connect();
    await assertSchemaCompatibility(client, backend.schema ?? defaultQueueSchema);
  } finally {
    await client.end().catch(() => undefined);
  }
}
