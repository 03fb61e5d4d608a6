import type { JobProcessor } from '@alcove/jobs';
import type { RoomUsers } from '@alcove/rooms';

/** Takes the destruction of a user as far as it goes now; while rooms are left, the reconciler goes on with it. */
export function destroyUser(users: RoomUsers): JobProcessor<'user.destroy'> {
  return {
    job: 'user.destroy',
    process: async ({ userId, tenantId }) => {
      await users.finish(tenantId, userId);
    },
  };
}
