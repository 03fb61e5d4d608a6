import { STATUS_CODES } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Controller } from '@nestjs/common';
import { Problem } from '@alcove/contracts';
import { Asked, Route, type Call } from '../door/route';
import type { UpgradeCall } from '../door/upgrades';
import { askThrough, headersOutside, pathInside, upgradeThrough, type ForwardedRequest } from '../streams/forward';
import { RoomCalls } from '../streams/room-calls';

@Controller()
export class PortsController {
  constructor(private readonly roomCalls: RoomCalls) {}

  @Route('forwardPort')
  async forward(@Asked() { principal, params, body, signal, request, reply }: Call<'forwardPort'>): Promise<Readable | undefined> {
    const port = Number(params.port);
    const { socket, route } = await this.roomCalls.tunnel({ principal, roomId: params.roomId, wake: true, signal, port });
    const asked: ForwardedRequest = { method: request.method, port, path: pathInside(request.raw.url ?? ''), headers: request.headers, signal, ...(body === undefined ? {} : { body: body as Readable }) };
    const answer = await askThrough(socket, asked);
    const status = answer.statusCode ?? 0;
    if (status < 200 || status > 599) throw new Problem('guest.protocol', { detail: `The server in the room answered with the status ${status}.` });
    void reply.code(status).headers(headersOutside(answer.headers)).headers({ 'alcove-room-state': 'running', 'alcove-woken-ms': String(Math.round(route.wokenMs)) });
    if (request.method !== 'HEAD' && status !== 204 && status !== 304) return answer;
    answer.resume();
    return undefined;
  }

  /** A WebSocket of a server in the room. What it answers instead of one is passed on, and ends the connection: nothing that the caller says after it may reach the room. */
  async upgrade({ principal, params, signal, request, socket, head }: UpgradeCall<'forwardPort'>): Promise<void> {
    const port = Number(params.port);
    const tunnel = await this.roomCalls.tunnel({ principal, roomId: params.roomId, wake: true, signal, port });
    const { answer, granted } = await upgradeThrough(tunnel.socket, { method: 'GET', port, path: pathInside(request.url ?? ''), headers: withoutKey(request.headers), signal });
    const status = answer.statusCode ?? 0;
    const headers = { ...headersOutside(answer.headers), connection: granted ? 'Upgrade' : 'close', ...(granted ? { upgrade: 'websocket' } : {}) };
    const lines = Object.entries(headers).flatMap(([name, values]) => [values].flat().map((value) => `${name}: ${value}\r\n`));
    socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n${lines.join('')}\r\n`);
    // Answered: what goes wrong from here on ends both sides, and is told by that alone.
    if (!granted) {
      await pipeline(answer, socket).catch(() => socket.destroy());
      return;
    }
    const { inside, first } = granted;
    signal.addEventListener('abort', () => socket.destroy(), { once: true });
    if (first.length > 0) socket.write(first);
    if (head.length > 0) inside.write(head);
    await Promise.all([pipeline(socket, inside), pipeline(inside, socket)]).catch(() => undefined);
    socket.destroy();
    inside.destroy();
  }
}

/** The key may have come as a subprotocol: the room does not see it. */
function withoutKey(headers: UpgradeCall<'forwardPort'>['request']['headers']): ForwardedRequest['headers'] {
  const { 'sec-websocket-protocol': offered, ...rest } = headers;
  const left = (offered ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '' && !name.startsWith('alcove.key.'));
  return { ...rest, ...(left.length > 0 ? { 'sec-websocket-protocol': left.join(', ') } : {}) };
}
