import { limits } from '@alcove/base';
import type { Reconciler } from '@alcove/jobs';
import type { ReconcilerParts } from './reconciler-parts';

/** Users that are being destroyed: their rooms are, and once there is none left the user is gone. */
export function usersDestroying<Scope>({ users }: ReconcilerParts<Scope>): Reconciler {
  return { name: 'users.destroying', everyMs: limits.reconciler.everyMs, run: () => users.finishDestroying() };
}
