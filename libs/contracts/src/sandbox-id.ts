import type { RoomId } from '@alcove/base';
import { Problem } from './problem';

/**
 * E2B's ids go into host names, which are split at `-`: lower-case letters and digits only. A room's is `i` and the digits of its own id, for as long as it lives.
 */
const roomForm = /^room_([0-9a-f]{20})$/;
const sandboxForm = /^i([0-9a-f]{20})$/;

/** `room_<20 hex>` as `i<20 hex>`. */
export function sandboxIdOf(roomId: string): string {
  const digits = roomForm.exec(roomId)?.[1];
  if (digits === undefined) throw new Problem('internal', { detail: 'a room of another name' });
  return `i${digits}`;
}

/** The way back; null for what is the id of no room. */
export function roomIdOf(sandboxId: string): RoomId | null {
  const digits = sandboxForm.exec(sandboxId)?.[1];
  return digits === undefined ? null : `room_${digits}`;
}
