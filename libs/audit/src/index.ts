export { Audit, type AuditInput, type ChainCheck } from './audit';
export { AuditModule } from './audit.module';
export { canonicalJson } from './canonical-json';
export { eventHash, recordHash, type AuditEvent, type AuditRecord } from './chain';
