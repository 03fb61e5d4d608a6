import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

/**
 * The TCP connections below TLS. Node.js ends a destroyed TLS connection as it ends any: to the other side that is the end of the bytes, and nothing says that there
 * should have been more. Only a reset of the TCP connection below does, and TLSSocket has no way to it.
 */
export class Wires {
  readonly #wires = new Map<string, Socket>();

  constructor(server: Server) {
    server.on('connection', (wire: Socket) => {
      const name = nameOf(wire);
      if (name === null) return;
      this.#wires.set(name, wire);
      wire.once('close', () => {
        if (this.#wires.get(name) === wire) this.#wires.delete(name);
      });
    });
  }

  /** Cuts the connection that carries this TLS socket. */
  cut(socket: Duplex): void {
    const name = nameOf(socket as TLSSocket);
    const wire = name === null ? undefined : this.#wires.get(name);
    if (wire && !wire.destroyed) wire.resetAndDestroy();
    socket.destroy();
  }
}

function nameOf(socket: Socket | TLSSocket): string | null {
  return socket.remoteAddress === undefined || socket.remotePort === undefined ? null : `${socket.remoteAddress}|${socket.remotePort}|${socket.localPort ?? 0}`;
}
