import { connect, type Socket } from 'node:net';
import { Problem } from '@alcove/contracts';

/**
 * The commands of QEMU's machine protocol that this driver uses, with their arguments and answers.
 * Source: QEMU's QMP reference manual (docs/interop/qemu-qmp-ref), QEMU 8.2 to 10.
 */
export interface QmpCommands {
  qmp_capabilities: { arguments: Record<string, never>; answer: unknown };
  'query-status': { arguments: Record<string, never>; answer: { status: string; running: boolean } };
  stop: { arguments: Record<string, never>; answer: unknown };
  cont: { arguments: Record<string, never>; answer: unknown };
  quit: { arguments: Record<string, never>; answer: unknown };
  'migrate-set-capabilities': { arguments: { capabilities: { capability: string; state: boolean }[] }; answer: unknown };
  'migrate-incoming': { arguments: { uri: string }; answer: unknown };
  'xen-save-devices-state': { arguments: { filename: string; live: boolean }; answer: unknown };
  'ringbuf-read': { arguments: { device: string; size: number; format: 'utf8' | 'base64' }; answer: string };
  'query-named-block-nodes': { arguments: { flat: boolean }; answer: BlockNode[] };
  'blockdev-snapshot-internal-sync': { arguments: { device: string; name: string }; answer: unknown };
  'blockdev-snapshot-delete-internal-sync': { arguments: { device: string; name: string }; answer: unknown };
}

export interface BlockNode {
  'node-name'?: string;
  image: { snapshots?: { id: string; name: string }[] };
}

export interface QmpEvent {
  event: string;
  data: Record<string, unknown>;
}

/** QEMU refused a command; `class` is its error class. */
export class QmpRefusal extends Error {
  override readonly name = 'QmpRefusal';
  constructor(
    readonly command: string,
    readonly description: string,
  ) {
    super(`${command}: ${description}`);
  }
}

/** The longest line taken from a VMM. A VMM that a guest has taken over must not fill the host agent's memory. */
const lineBytesMax = 4 << 20;
const commandTimeoutMs = 30_000;

interface Waiting {
  command: string;
  resolve(answer: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

/**
 * One connection to a VMM's control socket. Every answer is bounded in size and time; when the connection ends, everything that waits is refused with
 * `engine.failed` and `closed` settles.
 */
export class QmpClient {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #nextId = 1;
  #greeted!: () => void;
  readonly #greeting = new Promise<void>((resolve) => {
    this.#greeted = resolve;
  });
  /** Settles once, when the connection has ended for whatever reason. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', () => undefined);
    this.closed = new Promise<void>((resolve) => {
      socket.on('close', () => {
        this.#refuseAll();
        this.#greeted();
        resolve();
      });
    });
  }

  /** Connects to a socket that exists, and negotiates. Rejects with the system error when nobody listens there (yet). */
  static async connect(path: string): Promise<QmpClient> {
    const socket = await new Promise<Socket>((resolve, reject) => {
      const candidate = connect({ path });
      candidate.once('connect', () => {
        candidate.off('error', reject);
        resolve(candidate);
      });
      candidate.once('error', reject);
    });
    const client = new QmpClient(socket);
    await client.#greeting;
    await client.execute('qmp_capabilities', {});
    return client;
  }

  /** Runs one command. Rejects with QmpRefusal when QEMU says no, with Problem `engine.failed` when it says nothing. */
  execute<C extends keyof QmpCommands>(command: C, args: QmpCommands[C]['arguments']): Promise<QmpCommands[C]['answer']> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(ended(command));
        return;
      }
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Problem('engine.failed', { detail: `the virtual machine's monitor did not answer ${command}` }));
      }, commandTimeoutMs);
      this.#waiting.set(id, { command, resolve, reject, timer });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  /** Calls the listener for every event until the returned function is called. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(data: Buffer): void {
    let rest = data;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      this.#received.push(rest.subarray(0, end));
      const line = Buffer.concat(this.#received).toString('utf8');
      this.#received = [];
      this.#receivedBytes = 0;
      rest = rest.subarray(end + 1);
      this.#line(line);
    }
    if (rest.length === 0) return;
    this.#received.push(rest);
    this.#receivedBytes += rest.length;
    if (this.#receivedBytes > lineBytesMax) this.#socket.destroy();
  }

  #line(line: string): void {
    if (line.trim() === '') return;
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.#socket.destroy();
      return;
    }
    if (typeof message !== 'object' || message === null) return;
    const fields = message as { QMP?: unknown; event?: unknown; data?: unknown; id?: unknown; return?: unknown; error?: { desc?: unknown } };
    if (fields.QMP !== undefined) this.#greeted();
    else if (typeof fields.event === 'string') this.#emit({ event: fields.event, data: (fields.data ?? {}) as Record<string, unknown> });
    else if (typeof fields.id === 'number') this.#answer(fields.id, fields);
  }

  #emit(event: QmpEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #answer(id: number, fields: { return?: unknown; error?: { desc?: unknown } }): void {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (fields.error === undefined) waiting.resolve(fields.return);
    else waiting.reject(new QmpRefusal(waiting.command, String(fields.error.desc ?? 'refused')));
  }

  #refuseAll(): void {
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(ended(waiting.command));
    }
    this.#waiting.clear();
  }
}

function ended(command: string): Problem {
  return new Problem('engine.failed', { detail: `the virtual machine ended before it answered ${command}` });
}
