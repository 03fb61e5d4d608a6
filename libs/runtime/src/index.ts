export type { Driver, DriverCapabilities, FoundVm, MemorySource, ProbeReport, RoomKey, RoomSpec, Sealed, SealOrder, Started, Template } from './driver';
export type { GuestClaim, GuestSession, GuestStats } from './guest-session';
