export type { Driver, DriverCapabilities, FoundVm, MemorySource, ProbeReport, RoomKey, RoomSpec, Sealed, SealOrder, Started, Template } from './driver';
export type { GuestClaim, GuestSession, GuestStats } from './guest-session';
export { createFakeDriver, FakeDriver, type FakeDriverOptions } from './drivers/fake/driver';
export type { Fault, FaultChance, FaultSources } from './drivers/fake/faults';
export { FakeWorld } from './drivers/fake/world';
export { openGuestSession, type GuestSessionOptions } from './guest-channel/session';
