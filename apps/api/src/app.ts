import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { createLog, errorCode, limits, systemClock, type Clock, type Log } from '@alcove/base';
import { doors as knownDoors, Problem } from '@alcove/contracts';
import { FleetService } from '@alcove/fleet';
import { IdentityService } from '@alcove/identity';
import { MemoryService } from '@alcove/memory';
import { RoomsService } from '@alcove/rooms';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ApiModule } from './api.module';
import type { ApiConfig } from './config';
import { PortsController } from './controllers/ports.controller';
import { TerminalsController } from './controllers/terminals.controller';
import { Door, requestId } from './door/door';
import { Metrics } from './door/metrics';
import { OpenCalls } from './door/open-calls';
import { ProblemFilter } from './door/problems';
import { Upgrades } from './door/upgrades';
import { internalListener } from './internal/heartbeats';
import { nestLog } from './nest-log';
import { RoomDoors } from './room-doors/room-doors';

/** A running API. */
export interface Api {
  readonly app: NestFastifyApplication;
  readonly internal: FastifyInstance;
  /** Starts to listen; resolves with the addresses, ports chosen by the kernel included. */
  listen(): Promise<{ api: AddressInfo; internal: AddressInfo }>;
  /** Takes no more calls, ends followers, lets the others finish for limits.http.closeMs, then lets go of everything. */
  close(): Promise<void>;
}

/** What a test replaces. */
export interface ApiParts {
  readonly clock?: Clock;
  readonly log?: Log;
}

/** Longer than any id or user name can be, each character written as three. */
const paramChars = 400;

function fastifyAdapter(config: ApiConfig, filter: ProblemFilter, log: Log): FastifyAdapter {
  const trustsProxy = config.trustProxy !== false;
  return new FastifyAdapter({
    trustProxy: config.trustProxy,
    genReqId: (request: { headers: IncomingMessage['headers'] }) => requestId(request.headers, trustsProxy),
    routerOptions: { maxParamLength: paramChars },
    exposeHeadRoutes: false,
    // The door refuses with a problem of ours while the process ends.
    return503OnClosing: false,
    http: { maxHeaderSize: limits.http.headerBytes },
    frameworkErrors: (error: unknown, request: FastifyRequest, reply: FastifyReply) => filter.answer(error, request, reply),
    clientErrorHandler: (error: Error, socket: Socket) => refuseBadHttp(error, socket, log),
  });
}

/** What is no HTTP that can be understood gets a problem too, and its connection ends. */
function refuseBadHttp(error: Error, socket: Socket, log: Log): void {
  log.debug({ err: error }, 'bad HTTP');
  if (!socket.writable || errorCode(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const body = JSON.stringify(new Problem('request.invalid', { detail: 'This is no HTTP request that can be read.' }).toBody());
  socket.end(`HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

/** Puts the API together without listening. Throws when a part cannot start, such as a root key file that others may read. */
export async function createApi(config: ApiConfig, parts: ApiParts = {}): Promise<Api> {
  const clock = parts.clock ?? systemClock;
  const log = parts.log ?? createLog('api', config.logLevel);
  const filter = new ProblemFilter(log);
  const module = ApiModule.forRoot(config, clock, log);
  const app = await NestFactory.create<NestFastifyApplication>(module, fastifyAdapter(config, filter, log), { bodyParser: false, logger: nestLog(log), abortOnError: false });
  const calls = app.get(OpenCalls);
  const metrics = app.get(Metrics);
  const door = new Door(app.get(IdentityService), calls, metrics, config.docs, log);
  door.install(app.getHttpAdapter().getInstance());
  app.useGlobalFilters(filter);
  await app.init();
  door.assertComplete();
  const [terminals, ports] = [app.get(TerminalsController), app.get(PortsController)];
  new Upgrades(door, calls, { pty: (call) => terminals.open(call), forwardPort: (call) => ports.upgrade(call) }, config.trustProxy !== false, log).install(app.getHttpServer() as Server);
  const rooms = app.get(RoomsService);
  const doors = new RoomDoors({ rooms, memory: app.get(MemoryService), log, told: (route, status) => metrics.doorCall(Object.hasOwn(knownDoors.memory.routes, route) ? route : 'unknown', status) });
  const internal = internalListener(config.tls, { heartbeats: app.get(FleetService), edge: rooms, doors }, metrics, log);
  const close = async (): Promise<void> => {
    const server = app.getHttpServer() as Server;
    server.close();
    await calls.close();
    // Whoever still reads an answer, however slowly, has had its time.
    server.closeAllConnections();
    const closing = internal.close();
    internal.server.closeAllConnections();
    await closing;
    await app.close();
  };
  const listen = async (): Promise<{ api: AddressInfo; internal: AddressInfo }> => {
    await internal.listen(config.internalListen);
    await app.listen(config.listen);
    return { api: addressOf(app.getHttpServer()), internal: addressOf(internal.server) };
  };
  return { app, internal, listen, close };
}

function addressOf(server: { address(): AddressInfo | string | null }): AddressInfo {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening on a port');
  return address;
}
