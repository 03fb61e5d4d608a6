import { limits } from '@alcove/base';
import { type DoorAnswer, doorPathPattern, Incarnation, Problem, RoomIdSchema } from '@alcove/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { edgeName } from './edge';
import { commonName } from './speaker';

/** What the internal listener asks for a program in a room. */
export interface DoorCalls {
  answer(room: { hostId: string; roomId: string; incarnation: number }, body: unknown): Promise<DoorAnswer>;
}

/** JSON may need six characters for one of a body's; the rest is small. */
const bodyLimit = 6 * limits.doors.bodyBytes + (64 << 10);

/** A host speaks for the rooms that it runs, and only in its own name. */
export function installDoors(server: FastifyInstance, doors: DoorCalls): void {
  server.post(doorPathPattern, { bodyLimit }, async (request: FastifyRequest<{ Params: { hostId: string; roomId: string; incarnation: string } }>) => {
    const { hostId } = request.params;
    if (commonName(request) !== hostId || hostId === edgeName) throw new Problem('auth.scope', { detail: `This certificate does not speak for ${hostId}.` });
    const roomId = RoomIdSchema.safeParse(request.params.roomId);
    const incarnation = Incarnation.safeParse(/^[1-9]\d{0,9}$/.test(request.params.incarnation) ? Number(request.params.incarnation) : null);
    if (!roomId.success || !incarnation.success) throw new Problem('incarnation.stale');
    return doors.answer({ hostId, roomId: roomId.data, incarnation: incarnation.data }, request.body);
  });
}
