import { ExecRequest } from '@alcove/contracts';
import { isProblem } from '@alcove/contracts';
import { type Exchange, readJson, writeWithPressure } from '../http/answer';
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
        await run(exchange, (signal) => stream.guest.exec(order, signal), stream.signal);
      } finally {
        stream.close();
      }
    },
  };
}

async function run(exchange: Exchange, exec: (signal: AbortSignal) => AsyncIterable<unknown>, ended: AbortSignal): Promise<void> {
  const { response } = exchange;
  const signal = AbortSignal.any([exchange.gone, ended]);
  const send = (event: unknown) => writeWithPressure(response, `${JSON.stringify(event)}\n`, signal);
  try {
    for await (const event of exec(signal)) {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
      await send(event);
    }
  } catch (error) {
    if (!response.headersSent || exchange.gone.aborted) throw error;
    const { code, detail } = isProblem(error) ? error : { code: 'guest.io' as const, detail: undefined };
    response.write(`${JSON.stringify({ event: 'error', code, ...(detail === undefined ? {} : { detail }) })}\n`);
  }
  response.end();
}
