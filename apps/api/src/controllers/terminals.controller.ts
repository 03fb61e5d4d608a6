import { Controller, Inject } from '@nestjs/common';
import { limits, type Clock, type Log } from '@alcove/base';
import { Problem, type ExecEvent, type ProcessStart, type TerminalSize } from '@alcove/contracts';
import { WebSocketServer, type WebSocket } from 'ws';
import { Route } from '../door/route';
import { protocolsOf, type UpgradeCall } from '../door/upgrades';
import { dropBody } from '../streams/answers';
import { processEvents, startedPid } from '../streams/process-events';
import { RoomCalls, type RoomCall } from '../streams/room-calls';
import { Terminal } from '../streams/terminal';
import { CLOCK, LOG } from '../tokens';

type Pty = UpgradeCall<'pty'>;

const protocol = 'alcove.pty';
const kill = 9;
/** What a terminal's programs look for. */
const terminalEnv = { TERM: 'xterm-256color', LANG: 'C.UTF-8' };

/** Terminals in rooms, over WebSocket. */
@Controller()
export class TerminalsController {
  readonly #sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.terminal.messageBytes,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  });

  constructor(
    private readonly roomCalls: RoomCalls,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Whoever asks for this in plain HTTP. */
  @Route('pty')
  plain(): never {
    throw new Problem('request.invalid', { detail: 'A terminal is a WebSocket: ask for it with Upgrade: websocket.' });
  }

  /** The process begins, or is found, before the WebSocket does: what is wrong with it is still an answer in HTTP. */
  async open(call: Pty): Promise<void> {
    const { request, socket, head, query, signal } = call;
    if (request.headers['sec-websocket-version'] !== '13' || !/^[A-Za-z0-9+/]{22}==$/.test(request.headers['sec-websocket-key'] ?? '')) {
      throw new Problem('request.invalid', { detail: 'This is not the beginning of a WebSocket of version 13.' });
    }
    if (protocolsOf(request.headers).length > 8) throw new Problem('request.invalid', { detail: 'Too many subprotocols.' });
    const listening = new AbortController();
    const heard = AbortSignal.any([signal, listening.signal]);
    try {
      const [path, sent] = query.pid === undefined ? (['processes', json(orderOf(query))] as const) : ([`processes/${query.pid}/output`, {}] as const);
      const answer = await this.roomCalls.open({ ...this.#room(call), wake: query.wake, signal: heard, method: query.pid === undefined ? 'POST' : 'GET', path, ...sent });
      const output = processEvents(answer.body);
      const pid = await startedPid(output);
      const connection = await this.#handshake(request, socket, head).catch(async (error: unknown) => {
        if (query.pid === undefined) await this.#end(call, pid);
        throw error;
      });
      await this.#serve(call, connection, pid, output);
    } finally {
      listening.abort();
    }
  }

  async #serve(call: Pty, connection: WebSocket, pid: number, output: AsyncIterable<ExecEvent>): Promise<void> {
    const tell = async (verb: string, sent: Partial<Pick<RoomCall, 'headers' | 'body'>>, signal: AbortSignal): Promise<void> => {
      dropBody(await this.roomCalls.open({ ...this.#room(call), wake: false, signal, method: 'POST', path: `processes/${pid}/${verb}`, ...sent }));
    };
    const write = (data: Buffer): Promise<void> => tell('input', { headers: { 'content-type': 'application/octet-stream' }, body: data }, call.signal);
    const resize = (size: TerminalSize): Promise<void> => tell('size', json(size), call.signal);
    if (call.query.pid !== undefined && wantsSize(call)) await resize({ cols: call.query.cols, rows: call.query.rows }).catch((err: unknown) => this.log.debug({ err }, 'a terminal kept its size'));
    await new Terminal(connection, { pid, output, write, resize }, this.clock).run(call.signal);
    await this.#end(call, pid);
  }

  /** Ends the process where it was asked to end with its terminal. Its caller has gone: this is not its to cancel. */
  async #end(call: Pty, pid: number): Promise<void> {
    if (!call.query.end) return;
    const ended = this.roomCalls.open({ ...this.#room(call), wake: false, signal: AbortSignal.timeout(limits.guest.execGraceMs), method: 'POST', path: `processes/${pid}/signal`, ...json({ signal: kill }) });
    await ended.then(dropBody).catch((err: unknown) => this.log.debug({ err }, 'a terminal that should end had ended'));
  }

  #room({ principal, params }: Pty): Pick<RoomCall, 'principal' | 'roomId'> {
    return { principal, roomId: params.roomId };
  }

  #handshake(request: Pty['request'], socket: Pty['socket'], head: Buffer): Promise<WebSocket> {
    return new Promise((resolve, reject) => {
      socket.once('close', () => reject(new Problem('unavailable', { detail: 'The caller went away.' })));
      this.#sockets.handleUpgrade(request, socket, head, (connection) => {
        connection.pause();
        resolve(connection);
      });
    });
  }
}

/** Whoever attaches and says no size keeps that of the terminal. */
function wantsSize({ request }: Pty): boolean {
  return /[?&](cols|rows)=/.test(request.url ?? '');
}

function orderOf({ cols, rows, cwd, user, command }: Pty['query']): ProcessStart {
  return {
    command: command === undefined ? ['/bin/bash', '-i', '-l'] : ['/bin/bash', '-l', '-c', command],
    env: terminalEnv,
    stdin: true,
    pty: { cols, rows },
    ...(cwd === undefined ? {} : { cwd }),
    ...(user === undefined ? {} : { user }),
  };
}

function json(body: unknown): { headers: Record<string, string>; body: string } {
  return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
