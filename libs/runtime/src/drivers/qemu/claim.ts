import { createHash } from 'node:crypto';
import { type Clock, systemRandom } from '@alcove/base';
import type { ClaimMode } from '@alcove/contracts';
import type { RoomSpec } from '../../driver';
import type { GuestClaim } from '../../guest-session';

/** More than any kernel pool or library asks for. */
const entropyBytes = 256;

/** What a guest is told at every start, before anything else runs in it: fresh entropy, the time and who it is. */
export function claimFor(room: RoomSpec, mode: ClaimMode, clock: Clock): GuestClaim {
  return {
    roomId: room.roomId,
    incarnation: room.incarnation,
    mode,
    entropy: systemRandom.bytes(entropyBytes),
    wallClockNs: BigInt(Math.floor(clock.now())) * 1_000_000n,
    // The same for the room's life, and no other room's.
    machineId: createHash('sha256').update(`alcove machine id\0${room.roomId}`).digest('hex').slice(0, 32),
    hostname: room.roomId.replace('_', '-'),
    env: room.env,
  };
}
