import { sendJson } from '../http/answer';
import type { Route } from '../http/server';
import type { Figures } from '../services/figures';
import { roomOf } from './room-params';

/** `GET figures`: what the room used lately (RoomFiguresList), the newest last. */
export function figuresRoute(figures: Figures): Route {
  return {
    method: 'GET',
    path: '/rooms/:roomId/incarnations/:n/figures',
    handle: async (exchange) => sendJson(exchange.response, 200, { figures: await figures.of(roomOf(exchange)) }),
  };
}
