import { type Clock, silentLog, systemClock } from '@alcove/base';
import { Audit } from '@alcove/audit';
import type { AddMemory, Principal, ProblemCode } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import { Users } from '@alcove/identity';
import { PostgresOutbox } from '@alcove/jobs';
import type { KeysService } from '@alcove/keys';
import { type MemoryCaller, MemoryService, type MemoryServiceParts } from '@alcove/memory';
import { newTenant, openDb } from '../db/database';
import { keysRig, type KeysRig } from '../keys/rig';

/** Memory on the tests' databases. Each service is another process: it has nothing open that another has. */
export interface MemoryRig {
  readonly db: Db;
  readonly keys: KeysRig;
  readonly keyService: KeysService;
  service(parts?: Partial<MemoryServiceParts>): MemoryService;
  /** A tenant and a user of its own for each test. */
  caller(with_?: Partial<MemoryCaller>): Promise<MemoryCaller>;
  close(): Promise<void>;
}

export async function memoryRig(clock: Clock = systemClock): Promise<MemoryRig> {
  const db = openDb();
  const keys = await keysRig();
  const keyService = keys.service();
  return {
    db,
    keys,
    keyService,
    service: (parts = {}) => new MemoryService({ db, keys: keyService, users: new Users({ clock }), audit: new Audit(clock), outbox: new PostgresOutbox(db, clock, silentLog), clock, log: silentLog, ...parts }),
    caller: async (with_ = {}) => ({ tenantId: await newTenant(db), userId: 'ann', actor: 'key:test', channel: 'api', purpose: 'test', ...with_ }),
    close: async () => {
      await db.close();
      await keys.close();
    },
  };
}

export const operator: Principal = { kind: 'platform', keyId: 'platform', tenantId: null, scopes: ['platform'], ratePerSecond: 1, concurrent: 1 };

export function fact(content: string, with_: Partial<AddMemory> = {}): AddMemory {
  return {
    kind: 'fact', content, title: null, tags: [], source: { kind: 'message', ref: null, trust: 'user' }, confidence: 1, evidence: [], validFrom: null, validTo: null, expiresAt: null, supersedes: null, ...with_,
  };
}

export const aSource = (trust: AddMemory['source']['trust']): AddMemory['source'] => ({ kind: 'message', ref: null, trust });

export const problem = (run: Promise<unknown>): Promise<ProblemCode | 'no problem'> =>
  run.then(
    () => 'no problem' as const,
    (error: { code?: ProblemCode }) => {
      if (error.code === undefined) throw error;
      return error.code;
    },
  );

