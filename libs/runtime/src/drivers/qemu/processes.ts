import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { Clock, Secret } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import { inherited } from './qemu.args';
import { bootId, identify, isRunning, type ProcessIdentity, sendKill } from './vm-processes';

export { identify, isRunning, type ProcessIdentity };

const programFolders = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'];

/** The path of a program given by path or by name. Problem `engine.missing`, with the Debian package to install, when it is not there. */
export async function findProgram(name: string, debianPackage: string): Promise<string> {
  const candidates = name.includes('/') ? [name] : programFolders.map((folder) => join(folder, name));
  for (const candidate of candidates) {
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return candidate;
  }
  throw new Problem('engine.missing', { detail: `${name} is not installed: apt install ${debianPackage}` });
}

export interface SpawnOrder {
  program: string;
  args: readonly string[];
  /** Working directory. */
  folder: string;
  /** Open files, by the number under which the child sees them (5 and above). */
  files: ReadonlyMap<number, number>;
  /** Standard output and error. */
  log: number;
  /** Handed over by a pipe; base64 of it is what the program reads from `inherited.secret`. */
  secret?: Secret<Buffer>;
  /** Run as this user and group; null keeps the own one. */
  uid: number | null;
}

export interface Spawned {
  identity: ProcessIdentity;
  child: ChildProcess;
  /** The other end of the child's `inherited.state`. */
  state: Socket;
}

/**
 * The first line on `inherited.secret` (a socket, which cannot be opened by name) becomes a pipe of the same number (a here-document of dash and of bash ≥ 5.1 is
 * one): so the secret is never in an argument, in the environment or in a file. No core files. When the host runs out of memory, a room goes before the host agent.
 */
const handOver = `IFS= read -r secret <&${inherited.secret}; exec ${inherited.secret}<&-; exec ${inherited.secret}<<END
$secret
END
unset secret;`;

/** The same for two of them, the second as `inherited.state`. */
const handOverTwo = `IFS= read -r secret <&${inherited.secret}; IFS= read -r other <&${inherited.secret}; exec ${inherited.secret}<&-; exec ${inherited.secret}<<END
$secret
END
exec ${inherited.state}<<END
$other
END
unset secret other;`;

const replaceShell = `ulimit -c 0; echo 500 2>/dev/null > /proc/self/oom_score_adj; exec "$@"`;

const outputChars = 64 << 10;
const plainEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

function secretLine(secret: Secret<Buffer> | undefined): string {
  return `${secret?.expose().toString('base64') ?? ''}\n`;
}

/**
 * Starts a program in a session of its own, so that it outlives this process. Problem `engine.missing` when the program is not there, `engine.failed` when it
 * cannot be started.
 */
export async function spawnDetached(order: SpawnOrder): Promise<Spawned> {
  const highest = Math.max(inherited.state, ...order.files.keys());
  const stdio: ('ignore' | 'pipe' | number)[] = ['ignore', order.log, order.log, 'pipe', 'pipe'];
  for (let number = stdio.length; number <= highest; number++) stdio.push(order.files.get(number) ?? 'ignore');
  const identities = order.uid === null ? {} : { uid: order.uid, gid: order.uid };
  const child = spawn('/bin/sh', ['-c', `${handOver} ${replaceShell}`, 'sh', order.program, ...order.args], {
    cwd: order.folder,
    detached: true,
    env: plainEnvironment,
    stdio,
    ...identities,
  });
  const state = child.stdio[inherited.state] as Socket;
  const secret = child.stdio[inherited.secret] as Socket;
  state.on('error', () => undefined);
  secret.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => reject(new Problem('engine.failed', { detail: 'the virtual machine cannot be started', cause: error })));
  });
  secret.end(secretLine(order.secret));
  child.unref();
  // A child that ended at once has no identity any more; it is then "gone" from the first look.
  const identity = (await identify(child.pid as number)) ?? { pid: child.pid as number, startTime: 'ended', bootId: await bootId() };
  return { identity, child, state };
}

/**
 * Runs a program to its end and hands it up to two secrets as spawnDetached does. The end of its output is kept. An abort kills it: rejects with the signal's reason once
 * it has gone.
 */
export async function runWithSecrets(program: string, args: readonly string[], secrets: readonly Secret<Buffer>[], signal?: AbortSignal): Promise<{ code: number; output: string }> {
  signal?.throwIfAborted();
  const script = `${secrets.length > 1 ? handOverTwo : handOver} ${replaceShell}`;
  const child = spawn('/bin/sh', ['-c', script, 'sh', program, ...args], { env: plainEnvironment, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const pipe = child.stdio[inherited.secret] as Socket;
  pipe.on('error', () => undefined);
  pipe.end(secrets.length === 0 ? secretLine(undefined) : secrets.map(secretLine).join(''));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (part: Buffer) => {
      output = (output + part.toString('utf8')).slice(-outputChars);
    });
  }
  const kill = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.once('close', (status) => resolve(status ?? 1));
      child.once('error', reject);
    });
    signal?.throwIfAborted();
    return { code, output };
  } finally {
    signal?.removeEventListener('abort', kill);
  }
}

/** Resolves true when the process has ended, false when it still runs after timeoutMs. Looks every few milliseconds: it need not be a child. */
export async function waitGone(identity: ProcessIdentity, clock: Clock, timeoutMs: number): Promise<boolean> {
  const deadline = clock.monotonic() + timeoutMs;
  while (await isRunning(identity)) {
    if (clock.monotonic() > deadline) return false;
    await clock.sleep(5);
  }
  return true;
}

/** Ends exactly this process with SIGKILL and waits until it has gone. Never signals another one that got its number. */
export async function killHard(identity: ProcessIdentity, clock: Clock): Promise<void> {
  if (!(await sendKill(identity))) return;
  if (!(await waitGone(identity, clock, 10_000))) {
    throw new Problem('engine.failed', { detail: `process ${identity.pid} does not end` });
  }
}
