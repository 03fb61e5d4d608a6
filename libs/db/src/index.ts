export { AdvisoryLocks, type LockOutcome } from './advisory-locks';
export { readBlobs } from './blobs';
export { Db, systemReasons, type DbOptions, type SystemReason, type TxOptions } from './db';
export { DbModule } from './db.module';
export { DbUnavailable, isUniqueViolation } from './failures';
export { Notices, type NoticeListener } from './notices';
export { appRole, migrate, MigrationRefused, type MigrateOptions } from './migrate';
export { appendOutbox, lockWaiting, markDispatched, nextDue, postpone, removeDispatched, type OutboxEntry, type WaitingEntry } from './outbox';
export type { Json, SqlTx, Tx } from './tx';
