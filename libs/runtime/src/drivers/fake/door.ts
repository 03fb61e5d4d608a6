import { type Duplex, duplexPair } from 'node:stream';
import { onAbort } from '../../guest-channel/on-abort';

interface Waiting {
  take(connection: Duplex): void;
}

/** The room's end of its doors: who connects waits for a stream of the host, and the other way round. */
export class FakeDoor {
  readonly #callers: Duplex[] = [];
  readonly #hosts = new Set<Waiting>();
  /** The names that the host has told. */
  readonly names = new Set<string>();

  /** For a program in the room: a connection, which waits while no host does. */
  connect(): Duplex {
    const [mine, theirs] = duplexPair();
    // duplexPair does not carry a destroy across.
    for (const [one, other] of [[mine, theirs], [theirs, mine]] as const) {
      one.on('error', () => undefined);
      one.once('close', () => other.destroy());
    }
    const host = [...this.#hosts][0];
    if (host) host.take(theirs);
    else this.#callers.push(theirs);
    return mine;
  }
  /** For the host. Aborting gives up, and ends the connection that it got. */
  open(names: readonly string[], signal: AbortSignal): Promise<Duplex> {
    for (const name of names) this.names.add(name);
    return new Promise((resolve, reject) => {
      const take = (connection: Duplex) => {
        this.#hosts.delete(waiting);
        const unlisten = onAbort(signal, () => connection.destroy());
        connection.once('close', unlisten);
        resolve(connection);
      };
      const waiting: Waiting = { take };
      const caller = this.#next();
      if (caller) return take(caller);
      this.#hosts.add(waiting);
      onAbort(signal, (reason) => {
        this.#hosts.delete(waiting);
        reject(reason);
      });
    });
  }

  #next(): Duplex | undefined {
    for (let caller = this.#callers.shift(); caller; caller = this.#callers.shift()) if (!caller.destroyed) return caller;
    return undefined;
  }
}
