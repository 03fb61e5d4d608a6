import type { Reconciler } from '@alcove/jobs';
import type { Process } from './platform';

/** Reconcilers of a process, run by hand: the worker's clock is not there. */
const named = (name: string) => ({ rooms }: Process): Reconciler => {
  const found = rooms.reconcilers.find((one) => one.name === name);
  if (!found) throw new Error(`no reconciler ${name}`);
  return found;
};

export const expiredRooms = named('rooms.expired');
export const staleHolds = named('rooms.held');
export const keyHolds = named('rooms.keys');
