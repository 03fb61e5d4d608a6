/** An IdentityService as one process has it, and the operator who may make tenants. */
import { randomBytes } from 'node:crypto';
import { newId } from '@alcove/base';
import { Audit } from '@alcove/audit';
import type { Principal, Tenant } from '@alcove/contracts';
import type { Db } from '@alcove/db';
import { hashKey, IdentityService, Users, type CountRooms } from '@alcove/identity';
import type { TestClock } from '../db/database';

export const platformKey = `operator-${randomBytes(16).toString('hex')}`;

export interface Process {
  identity: IdentityService;
  users: Users;
}

export function newProcess(db: Db, clock: TestClock, countRooms?: CountRooms): Process {
  const users = new Users({ clock, ...(countRooms && { countRooms }) });
  const identity = new IdentityService(db, new Audit(clock), users, { platformKeySha256: hashKey(platformKey).toString('hex'), clock });
  return { identity, users };
}

export const operator = (identity: IdentityService): Promise<Principal> => identity.authenticate(platformKey);

export async function makeTenant(identity: IdentityService): Promise<Tenant> {
  return identity.createTenant(await operator(identity), { name: newId('acme') });
}
