export { BareGuest } from './bare-guest';
export { choppedPair } from './chopped-pair';
export { GuestPeer, peerEncode, peerFields, peerFrame, PeerStream, type PeerFrame, type PeerOptions, type PeerService } from './guest-peer';
export { ManualClock } from './manual-clock';
export { contractHost, describeHostsStore } from './hosts-store-contract';
export { contractRoom, describeRoomsStore, freeTenant, saveOf, type RoomsStoreUnderTest } from './rooms-store-contract';
