export { KeyCache } from './key-cache';
export { KeysModule, type KeysModuleOptions } from './keys.module';
export { KeysService, type KeyOwner, type KeysOptions, type RoomTokens } from './keys.service';
