import { type ImageRef, Problem } from '@alcove/contracts';
import { limits } from '@alcove/base';
import { sleepingImageOf } from '../lifecycle/change';
import type { RoomRecord } from '../room';

/** What a room sleeps with while others are made from it. */
export interface Resting {
  readonly image: ImageRef;
  readonly bootNext: boolean;
}

type Held = Pick<RoomRecord, 'holders'>;

/** Holds a room for the copy of that id: it goes to sleep and stays so until it is released. Problems: `room.gone`, `room.busy` when too many hold it already. */
export function heldBy(copyId: string): (room: RoomRecord) => Promise<Held> {
  return async ({ state, wanted, holders }) => {
    if (wanted === 'gone' || state === 'destroyed') throw new Problem('room.gone');
    if (holders.includes(copyId)) return { holders };
    if (holders.length >= limits.room.holders) throw new Problem('room.busy');
    return { holders: [...holders, copyId] };
  };
}

export function releasedBy(copyId: string): (room: RoomRecord) => Promise<Held> {
  return async ({ holders }) => ({ holders: holders.filter((one) => one !== copyId) });
}

/** Asleep with its memory: what it sleeps with. Throws when it will not be, for a reason that does not pass by waiting. `before`: as it was when it was held. */
export function judgeResting(before: RoomRecord): (room: RoomRecord) => Resting | undefined {
  return (room) => {
    if (room.state === 'destroyed' || room.wanted === 'gone') throw new Problem('room.gone');
    const image = sleepingImageOf(room);
    if (room.state === 'hibernated' && image) return { image, bootNext: room.bootNext };
    if (room.state === 'failed' && !room.wakePending) throw new Problem('room.not_copied', { detail: `The room has no memory that could be copied (${room.failure?.code ?? 'unknown'}); wake it first.` });
    if (room.state === 'running' && room.move > before.move && room.failures > 0) throw new Problem('room.not_copied', { detail: 'The room could not be put to sleep now; it goes on running.' });
    return undefined;
  };
}
