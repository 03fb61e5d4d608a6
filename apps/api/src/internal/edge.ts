import { edgePaths, EdgeRouteAsked, EdgeWakeAsked, Problem, type EdgeRoute } from '@alcove/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { commonName } from './speaker';

/** What the edge's questions need of libs/rooms. */
export interface EdgeRoutes {
  edgeRoute(roomId: string): Promise<EdgeRoute>;
  edgeWake(roomId: string, signal?: AbortSignal): Promise<EdgeRoute>;
}

/** The name in the certificate of every edge. No host may have it. */
export const edgeName = 'edge';

/** The two questions of the edge: where a room is and what opens it, and the same once it runs. Only an edge's certificate is answered: the answer holds the room's tokens. */
export function installEdge(server: FastifyInstance, rooms: EdgeRoutes): void {
  server.post(edgePaths.route, async (request: FastifyRequest) => {
    const { roomId } = asked(request, EdgeRouteAsked);
    return rooms.edgeRoute(roomId);
  });
  server.post(edgePaths.wake, async (request: FastifyRequest, reply: FastifyReply) => {
    const { roomId } = asked(request, EdgeWakeAsked);
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort(new Problem('unavailable', { detail: 'The caller went away.' })));
    return rooms.edgeWake(roomId, gone.signal);
  });
}

function asked<S extends z.ZodType>(request: FastifyRequest, schema: S): z.output<S> {
  if (commonName(request) !== edgeName) throw new Problem('auth.scope', { detail: 'This certificate is not that of an edge.' });
  const parsed = schema.safeParse(request.body);
  if (!parsed.success) throw new Problem('request.invalid', { cause: parsed.error });
  return parsed.data;
}
