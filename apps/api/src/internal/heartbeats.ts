import { limits, type Log } from '@alcove/base';
import { Heartbeat, Problem, type HeartbeatAnswer, type TlsIdentity } from '@alcove/contracts';
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { Metrics } from '../door/metrics';
import { toProblem } from '../door/problems';
import { type DoorCalls, installDoors } from './doors';
import { edgeName, installEdge, type EdgeRoutes } from './edge';
import { commonName } from './speaker';

/** What the internal listener asks of libs/fleet and libs/rooms. */
export interface Heartbeats {
  heartbeat(hostId: string, beat: Heartbeat): Promise<HeartbeatAnswer>;
}

export interface InternalServices {
  readonly heartbeats: Heartbeats;
  readonly edge: EdgeRoutes;
  readonly doors: DoorCalls;
}

/**
 * The control plane's door for hosts and the edge, on a port of its own. Mutual TLS: whoever has no certificate of our authority is refused before HTTP begins, and the
 * certificate's common name is the only host that its bearer can speak for, or says that it is the edge.
 */
export function internalListener(tls: TlsIdentity, { heartbeats, edge, doors }: InternalServices, metrics: Metrics, log: Log): FastifyInstance {
  const server = fastify({
    https: { ca: tls.ca, cert: tls.cert, key: tls.key.expose(), requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
    bodyLimit: limits.host.reportBytes,
    requestTimeout: limits.host.leaseMs,
    exposeHeadRoutes: false,
  });
  server.post('/internal/hosts/:hostId/heartbeat', async (request: FastifyRequest<{ Params: { hostId: string } }>) => {
    const { hostId } = request.params;
    const speaker = commonName(request);
    if (speaker !== hostId || hostId === edgeName) throw new Problem('auth.scope', { detail: `This certificate does not speak for ${hostId}.` });
    const beat = Heartbeat.safeParse(request.body);
    if (!beat.success) throw new Problem('request.invalid', { cause: beat.error, errors: beat.error.issues.slice(0, 20).map((issue) => ({ path: issue.path.join('.'), message: issue.message })) });
    const answer = await heartbeats.heartbeat(hostId, beat.data);
    metrics.heartbeat('ok');
    return answer;
  });
  installEdge(server, edge);
  installDoors(server, doors);
  server.setErrorHandler(async (error, request, reply) => {
    const problem = toProblem(error);
    if (commonName(request) === edgeName) {
      log.debug({ err: problem, path: request.url }, 'the edge was refused');
    } else if (request.url.endsWith('/doors')) {
      log[problem.status >= 500 ? 'error' : 'warn']({ err: problem, host: commonName(request), path: request.url }, 'a host was refused for a room');
    } else {
      metrics.heartbeat('refused');
      log[problem.status >= 500 ? 'error' : 'warn']({ err: problem, host: commonName(request), path: request.url }, 'a heartbeat was refused');
    }
    return reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(problem.toBody());
  });
  server.setNotFoundHandler(async (_request, reply) => {
    const problem = new Problem('request.unknown_route');
    return reply.code(problem.status).type('application/problem+json').serializer(JSON.stringify).send(problem.toBody());
  });
  return server;
}
