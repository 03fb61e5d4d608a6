import { limits } from '@alcove/base';
import { ProcessStart, TerminalSize } from '@alcove/contracts';
import { z } from 'zod';
import { check, type Exchange, readBytes, readJson, readQuery, sendJson } from '../http/answer';
import { sendLines } from '../http/event-lines';
import type { Route } from '../http/server';
import type { RoomStream } from '../rooms/live-guest';
import type { Rooms } from '../rooms/rooms';
import { giveInput, ProcessSignal, signalNumber } from '../services/processes';
import { roomOf } from './room-params';

const base = '/rooms/:roomId/incarnations/:n/processes';
const Pid = z.object({ pid: z.string().regex(/^[1-9]\d{0,9}$/).transform(Number) });
const InputQuery = z.strictObject({ close: z.stringbool().default(false) });

/**
 * Processes that outlive whoever listens. `POST processes` and `GET processes/:pid/output` answer with lines of JSON (ExecEvent), as `exec` does; leaving them ends the
 * listening and nothing else.
 */
export function processRoutes(rooms: Rooms): Route[] {
  const withRoom = (work: (exchange: Exchange, stream: RoomStream, signal: AbortSignal) => Promise<void>) => async (exchange: Exchange) => {
    const stream = await rooms.openStream(roomOf(exchange));
    try {
      await work(exchange, stream, AbortSignal.any([exchange.gone, stream.signal]));
    } finally {
      stream.close();
    }
  };
  return [
    {
      method: 'POST',
      path: base,
      handle: withRoom(async (exchange, { guest, signal: ended }) => {
        const order = await readJson(exchange.request, ProcessStart);
        await sendLines(exchange, (signal) => guest.startProcess(order, signal), ended);
      }),
    },
    { method: 'GET', path: base, handle: withRoom(async ({ response }, { guest }, signal) => sendJson(response, 200, { processes: await guest.listProcesses(signal) })) },
    {
      method: 'GET',
      path: `${base}/:pid/output`,
      handle: withRoom((exchange, { guest, signal: ended }) => sendLines(exchange, (signal) => guest.attachProcess(pidOf(exchange), signal), ended)),
    },
    {
      method: 'POST',
      path: `${base}/:pid/input`,
      handle: withRoom(async (exchange, { guest }, signal) => {
        const { close } = readQuery(exchange.query, InputQuery);
        const data = await readBytes(exchange.request, limits.exec.stdinBytes);
        await giveInput(guest, pidOf(exchange), data, close, signal);
        exchange.response.writeHead(204).end();
      }),
    },
    {
      method: 'POST',
      path: `${base}/:pid/signal`,
      handle: withRoom(async (exchange, { guest }, signal) => {
        const order = await readJson(exchange.request, ProcessSignal);
        await guest.signalProcess(pidOf(exchange), signalNumber(order.signal), signal);
        exchange.response.writeHead(204).end();
      }),
    },
    {
      method: 'POST',
      path: `${base}/:pid/size`,
      handle: withRoom(async (exchange, { guest }, signal) => {
        await guest.resizeProcess(pidOf(exchange), await readJson(exchange.request, TerminalSize), signal);
        exchange.response.writeHead(204).end();
      }),
    },
  ];
}

function pidOf(exchange: Exchange): { pid: number } {
  return check(Pid, { pid: exchange.params['pid'] });
}
