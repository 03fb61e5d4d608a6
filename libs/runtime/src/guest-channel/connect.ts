import type { Duplex } from 'node:stream';
import type { Question } from './ask';
import type { Mux } from './mux';
import { broken } from './problems';
import { StreamDuplex } from './stream-duplex';

/** Resolves at once: that nobody listens comes as the stream's error, `agent.unreachable`. */
export function connect(mux: Mux, port: number, waitMs: number, signal: AbortSignal): Duplex {
  return new StreamDuplex(mux, { fields: [['svc', 'connect'], ['port', port], ['waitMs', waitMs]], asked: 'connect', signal }, { writable: true });
}

/** Resolves when somebody listens there; rejects with `agent.unreachable` when nobody does. A guest that is too old to say so refuses the field: `request.invalid`. */
export function connectWithHello(mux: Mux, port: number, waitMs: number, signal: AbortSignal): Promise<Duplex> {
  return greeted(mux, { fields: [['svc', 'connect'], ['port', port], ['waitMs', waitMs], ['hello', 1]], asked: 'connect', signal });
}

/** Resolves when a program of the room has connected to one of these names. */
export function openDoor(mux: Mux, names: readonly string[], signal: AbortSignal): Promise<Duplex> {
  return greeted(mux, { fields: [['svc', 'door'], ...names.map((name): [string, string] => ['name', name])], asked: 'control', signal });
}

/** A stream of bytes that begins with an empty message. */
function greeted(mux: Mux, question: Question): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    let answered = false;
    const onMessage = () => {
      if (answered) throw broken('a second hello');
      answered = true;
      resolve(socket);
    };
    const onEnd = () => {
      if (!answered) throw broken('a connection that ended before its hello');
    };
    const socket = new StreamDuplex(mux, question, { writable: true, onMessage, onEnd });
    // The last word of a connection that ends before its hello: harmless after it.
    socket.once('error', reject);
    socket.once('close', () => reject(broken('a connection that closed before its hello')));
  });
}
