import { Problem } from '@alcove/contracts';
import type { RoomRecord } from './room';
import type { RoomQuery } from './rooms.store';

/** Where a page of rooms ended, as an opaque text. */
export function encodeRoomCursor(room: Pick<RoomRecord, 'createdAt' | 'id'>): string {
  return Buffer.from(`${room.createdAt} ${room.id}`).toString('base64url');
}

/** Problem `request.invalid` unless it is one of ours. */
export function decodeRoomCursor(cursor: string): NonNullable<RoomQuery['after']> {
  const [, createdAt, id] = /^(\d{1,15}) (room_[0-9a-f]{20})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  if (createdAt === undefined || id === undefined) throw new Problem('request.invalid', { errors: [{ path: 'query.cursor', message: 'not a cursor of this list' }] });
  return { createdAt: Number(createdAt), id };
}
