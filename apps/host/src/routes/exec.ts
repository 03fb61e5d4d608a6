import { ExecRequest } from '@alcove/contracts';
import { readJson } from '../http/answer';
import { sendLines } from '../http/event-lines';
import type { Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from './room-params';

/** `POST exec`: one command, its events as lines of JSON (ExecEvent). A failure before the first event is a problem; a later one is an `error` event. The caller's leaving ends the command. */
export function execRoute(rooms: Rooms): Route {
  return {
    method: 'POST',
    path: '/rooms/:roomId/incarnations/:n/exec',
    handle: async (exchange) => {
      const room = roomOf(exchange);
      const order = await readJson(exchange.request, ExecRequest);
      const stream = await rooms.openStream(room);
      try {
        await sendLines(exchange, (signal) => stream.guest.exec(order, signal), stream.signal);
      } finally {
        stream.close();
      }
    },
  };
}
