import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, createServer, request, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { newId, seededRandom, type Random } from '@alcove/base';
import { type DoorAnswer, DoorCall, type EnsureRunning, type EnsureSealed, Heartbeat, type HeartbeatAnswer } from '@alcove/contracts';
import type { Fault } from '@alcove/runtime';
import { type Identity, readIdentity, TestAuthority } from './host-certificates';

const root = resolve(__dirname, '../..');

/** A control plane that answers every beat, until it is told to be silent. */
export class StubControlPlane {
  readonly beats: Heartbeat[] = [];
  silent = false;
  end: HeartbeatAnswer['end'] = [];
  leaseMs = 15_000;
  readonly doorCalls: { roomId: string; incarnation: number; call: DoorCall }[] = [];
  /** What it says to a call from a door: as HTTP, so that it may refuse. */
  answerDoor: (call: DoorCall) => { status: number; body: unknown } = () => ({ status: 200, body: { status: 200, headers: { 'content-type': 'application/json' }, body: '{"from":"memory"}' } satisfies DoorAnswer });
  #server: Server | null = null;
  #heard: (() => void)[] = [];
  constructor(private readonly identity: Identity) {}
  async start(): Promise<string> {
    const server = createServer({ ...readIdentity(this.identity), requestCert: true, rejectUnauthorized: true }, (incoming, outgoing) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        if (this.silent) return;
        const door = /^\/internal\/hosts\/host-1\/rooms\/([^/]+)\/incarnations\/(\d+)\/doors$/.exec(incoming.url ?? '');
        if (door) {
          const call = DoorCall.parse(JSON.parse(Buffer.concat(chunks).toString()));
          this.doorCalls.push({ roomId: door[1] ?? '', incarnation: Number(door[2]), call });
          const { status, body } = this.answerDoor(call);
          return void outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
        }
        const beat = Heartbeat.parse(JSON.parse(Buffer.concat(chunks).toString()));
        this.beats.push(beat);
        const answer: HeartbeatAnswer = { leaseMs: this.leaseMs, acknowledged: beat.sequence, end: this.end };
        outgoing.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
        for (const tell of this.#heard.splice(0)) tell();
      });
    });
    this.#server = server;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return `https://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  }
  /** Resolves with the first beat, from now on, that fits. */
  async heard(fits: (beat: Heartbeat) => boolean): Promise<Heartbeat> {
    for (;;) {
      await new Promise<void>((tell) => this.#heard.push(tell));
      const beat = this.beats.at(-1);
      if (beat && fits(beat)) return beat;
    }
  }
  async stop(): Promise<void> {
    this.#server?.closeAllConnections();
    this.#server?.close();
  }
}

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
  json: unknown;
}

/** A host agent as a process of its own, on the fake driver, over real mutual TLS; killed and started again at will. */
export class HostProcess {
  readonly folder = mkdtempSync(join(tmpdir(), 'alcove-host-test-'));
  readonly authority = new TestAuthority(join(this.folder, 'tls'));
  readonly control = new StubControlPlane(this.authority.issue('control-plane'));
  readonly caller = readIdentity(this.authority.issue('control-plane'));
  readonly #identity = this.authority.issue('host-1');
  readonly log: string[] = [];
  child: ChildProcess | null = null;
  port = 0;
  #controlUrl = '';

  settings(extra: Record<string, string> = {}): Record<string, string> {
    return {
      ALCOVE_HOST_ID: 'host-1',
      ALCOVE_HOST_LISTEN: '127.0.0.1:0',
      ALCOVE_CONTROL_URL: this.#controlUrl,
      ALCOVE_TLS_CA: this.#identity.ca,
      ALCOVE_TLS_CERT: this.#identity.cert,
      ALCOVE_TLS_KEY: this.#identity.key,
      ALCOVE_STORE_DIR: join(this.folder, 'store'),
      ALCOVE_HOST_DIR: join(this.folder, 'host'),
      ALCOVE_DRIVER: 'fake',
      ALCOVE_HEARTBEAT_MS: '50',
      ALCOVE_ORPHAN_GRACE_MS: '300',
      ...extra,
    };
  }
  /** Starts the process and waits until it listens and its first beat was answered. */
  async start(extra: Record<string, string> = {}): Promise<void> {
    if (this.#controlUrl === '') this.#controlUrl = await this.control.start();
    const child = spawnHost(this.settings(extra));
    this.child = child;
    child.stderr?.on('data', (chunk: Buffer) => this.log.push(chunk.toString()));
    const lines = createInterface({ input: child.stdout ?? process.stdin });
    const first = await Promise.race([once(lines, 'line') as Promise<string[]>, once(child, 'exit').then(() => null)]);
    if (first === null) throw new Error(`the host agent ended at once:\n${this.log.join('')}`);
    this.port = (JSON.parse(first[0] ?? '') as { listening: { port: number } }).listening.port;
  }
  /** Waits until the host has a lease, so that it takes starts. */
  async ready(): Promise<void> {
    await until(async () => ((await this.call('GET', '/state')).json as { fenced: boolean }).fenced === false);
  }
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    const child = this.child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    child.kill(signal);
    await once(child, 'exit');
    return child.exitCode;
  }
  async ended(): Promise<void> {
    const child = this.child;
    if (child && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  async stop(): Promise<void> {
    await this.kill();
    await this.control.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
  /** Faults for the fake driver of the process; they strike while they are set. */
  faults(faults: Fault[]): void {
    const folder = join(this.folder, 'host');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'faults.json'), JSON.stringify(faults));
  }
  send(method: string, path: string, options: { body?: Buffer | string; headers?: Record<string, string>; identity?: { ca: Buffer; cert?: Buffer; key?: Buffer }; signal?: AbortSignal; agent?: Agent } = {}): Promise<IncomingMessage> {
    return new Promise((done, failed) => {
      const outgoing = request(
        { host: '127.0.0.1', port: this.port, method, path, headers: options.headers ?? {}, ...(options.identity ?? this.caller), agent: options.agent ?? false, ...(options.signal ? { signal: options.signal } : {}) },
        done,
      );
      outgoing.on('error', failed);
      outgoing.end(options.body);
    });
  }
  /** Sends a body as a stream; resolves when the answer begins, whether the body was read or not. */
  upload(method: string, path: string, body: Readable): Promise<IncomingMessage> {
    return new Promise((done, failed) => {
      const outgoing = request({ host: '127.0.0.1', port: this.port, method, path, headers: { 'content-type': 'application/octet-stream' }, ...this.caller, agent: new Agent({ keepAlive: true }) });
      outgoing.once('response', (answer) => {
        body.destroy();
        done(answer);
      });
      // Once answered, the host cuts what it does not want to read.
      outgoing.on('error', failed);
      body.pipe(outgoing);
    });
  }
  async call(method: string, path: string, value?: unknown): Promise<Answer> {
    const answer = await this.send(method, path, value === undefined ? {} : { body: JSON.stringify(value), headers: { 'content-type': 'application/json' } });
    return readAnswer(answer);
  }
}

export function spawnHost(settings: Record<string, string>): ChildProcess {
  const args = ['--no-warnings', '--import', join(__dirname, 'host-run-sources.ts'), join(root, 'apps/host/src/main.ts')];
  return spawn(process.execPath, args, { cwd: root, env: { PATH: process.env['PATH'], ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
}

export async function readAnswer(answer: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const isJson = /json/.test(answer.headers['content-type'] ?? '') && !/ndjson|connect/.test(answer.headers['content-type'] ?? '');
  return { status: answer.statusCode ?? 0, headers: answer.headers, body, json: isJson && body.length > 0 ? JSON.parse(body.toString()) : null };
}

const patienceMs = 20_000;

/** Waits for a condition, asking again as soon as the last question was answered; failures count as "not yet". Gives up after `patienceMs`. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  const givesUpAt = performance.now() + patienceMs;
  while (performance.now() < givesUpAt) {
    if (await Promise.resolve().then(condition).catch(() => false)) return;
    await new Promise((next) => setTimeout(next, 5));
  }
  throw new Error(`not so after ${patienceMs} ms: ${condition.toString()}`);
}

export const templateId = `tpl_${'0'.repeat(20)}`;
export const roomKeys = { image: Buffer.alloc(32, 1).toString('base64'), disk: Buffer.alloc(32, 2).toString('base64') };

export function runningOrder(change: Partial<EnsureRunning> = {}): EnsureRunning {
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return { operationId: 'op-1', templateId, size, image: null, previous: null, hasDisk: false, keys: roomKeys, env: {}, ...change };
}
export function sealedOrder(change: Partial<EnsureSealed> = {}): EnsureSealed {
  return { operationId: 'op-2', generation: 1, reason: 'idle', keys: roomKeys, ...change };
}
export function roomName(random: Random = seededRandom(1)): string {
  return newId('room', random);
}
