import { Incarnation, RoomIdSchema } from '@alcove/contracts';
import { z } from 'zod';
import { check, type Exchange } from '../http/answer';

const Params = z.strictObject({ roomId: RoomIdSchema, n: z.string().regex(/^[1-9]\d{0,15}$/).transform(Number).pipe(Incarnation) });

/** Which incarnation of which room a path names. */
export function roomOf(exchange: Exchange): { roomId: string; incarnation: number } {
  const { roomId, n } = check(Params, { roomId: exchange.params['roomId'], n: exchange.params['n'] });
  return { roomId, incarnation: n };
}
