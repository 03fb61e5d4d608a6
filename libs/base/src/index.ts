export { assert, AssertionFailed, errorCode, unreachable } from './assert';
export { Cleanup } from './cleanup';
export { systemClock, type Clock } from './clock';
export { newId, newUuid, type HostId, type Id, type RoomId } from './ids';
export { KeyedQueue } from './keyed-queue';
export { limits } from './limits';
export { createLog, silentLog, type Log } from './log';
export { seededRandom, systemRandom, type Random } from './random';
export { Secret } from './secret';
