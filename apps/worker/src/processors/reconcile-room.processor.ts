import type { JobProcessor } from '@alcove/jobs';
import type { RoomMover } from '@alcove/rooms';

/** A room that came to rest against what was wished of it: moved on at once, without waiting for the reconciler's next look. */
export function reconcileRoom(mover: RoomMover): JobProcessor<'room.reconcile'> {
  return {
    job: 'room.reconcile',
    process: async ({ roomId, tenantId }) => {
      await mover.reconcile({ roomId, tenantId });
    },
  };
}
