export { hashKey } from './api-key';
export { cacheMs } from './authenticator';
export { IdempotencyKeys, requestHash, type FirstRequest, type IdempotentRequest, type Replay } from './idempotency';
export { IdentityModule, type IdentityModuleOptions } from './identity.module';
export { IdentityService, type IdentityOptions } from './identity.service';
export { actorOf, requireScope, tenantOf } from './principals';
export { decodeCursor, encodeCursor } from './cursor';
export { Users, type CountRooms, type UserState } from './users';
