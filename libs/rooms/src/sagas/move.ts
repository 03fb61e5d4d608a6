import { ImageRef, Incarnation, RoomIdSchema, UserId } from '@alcove/contracts';
import { z } from 'zod';
import { checkpointOf, freshImageOf } from '../lifecycle/change';
import { isBeingCopied } from '../lifecycle/lifecycle';
import type { RoomRecord } from '../room';
import type { IncarnationRecord } from '../rooms.store';

const Where = z.strictObject({ incarnation: Incarnation, hostId: z.string() });

/**
 * What a move needs, taken from the row in the transaction that began it: a step that runs again, here or elsewhere, acts on the same facts. No secrets; the
 * environment is sealed.
 */
export const MoveParams = z.strictObject({
  roomId: RoomIdSchema,
  userId: UserId,
  /** Names the move, and the image if it makes one. */
  move: z.int(),
  incarnation: z.int().nonnegative(),
  hostId: z.string().nullable(),
  /** Where the room's disk is, or will be. */
  storeGroup: z.string().nullable(),
  templateId: z.string(),
  size: z.strictObject({ memoryMiB: z.int(), vcpus: z.int(), diskMiB: z.int() }),
  image: ImageRef.nullable(),
  previous: ImageRef.nullable(),
  hasDisk: z.boolean(),
  envSealed: z.string().nullable(),
  /** The room that this one is made a copy of; only while it is. */
  source: RoomIdSchema.nullable().default(null),
  /** The start is the first one of a copy. */
  newIdentity: z.boolean().default(false),
  /** Incarnations that may still live, other than the one of this move. */
  older: z.array(Where),
});
export type MoveParams = z.infer<typeof MoveParams>;

export function moveParams(room: RoomRecord, incarnation: number, open: readonly IncarnationRecord[]): MoveParams {
  const { id: roomId, userId, move, hostId, templateId, size, hasDisk, envSealed, storeGroup, origin } = room;
  return {
    roomId,
    userId,
    move,
    incarnation,
    hostId,
    storeGroup,
    templateId,
    size: { ...size },
    image: freshImageOf(room),
    previous: checkpointOf(room),
    hasDisk,
    envSealed,
    source: origin && isBeingCopied(room) ? origin.roomId : null,
    newIdentity: origin?.fresh ?? false,
    older: open.filter((one) => one.incarnation !== incarnation).map((one) => ({ incarnation: one.incarnation, hostId: one.hostId })),
  };
}
