import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { freePort } from '../../apps/cli/src/embedded-postgres';
import { virtualMachines } from '../../apps/cli/src/platform/virtual-machines';
import { ApiClient, ApiProblem, serverSentEvents } from '../../apps/cli/src/api-client';
import { builtTemplate } from '../built-template';
import { testConfig } from './e2e.config';

const root = resolve(__dirname, '../..');

export interface StatusAnswer {
  up: boolean;
  platform: { url: string; phase: string; services: { name: string; state: string; pid: number | null; restarts: number }[] } | null;
  virtualMachines: { roomId: string; pid: number }[];
}

/** A whole platform in a home of its own: real processes, real Postgres, real VMs, started by `./alcove up` as a user would. */
export interface Platform {
  readonly home: string;
  readonly url: string;
  readonly key: string;
  /** The operator's: it makes tenants. */
  readonly operatorKey: string;
  readonly tenantId: string;
  readonly client: ApiClient;
  readonly operator: ApiClient;
  status(): Promise<StatusAnswer>;
  /** The process of a service. Throws when it does not run. */
  pidOf(service: string): Promise<number>;
  /** The VM process of a room, or undefined. */
  vmOf(roomId: string): Promise<number | undefined>;
  /** kill -9 of a room's VM. Throws when it has none. */
  killVm(roomId: string): Promise<void>;
  /** Runs `./alcove` in this home and resolves with what it printed. */
  alcove(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }>;
  up(): Promise<void>;
  /** Ends everything, VMs too, and removes the home. */
  destroy(): Promise<void>;
}

export interface PlatformOptions {
  env?: Record<string, string>;
  /** The checkout whose `./alcove` is run; this one unless given. */
  checkout?: string;
}

/** Starts a platform in a new home that shares (by hard links) the templates that `./alcove setup` built. */
export async function startPlatform(options: PlatformOptions = {}): Promise<Platform> {
  const config = testConfig();
  await mkdir(config.temporary, { recursive: true, mode: 0o755 });
  const home = await mkdtemp(join(config.temporary, 'alcove-e2e-'));
  await chmod(home, 0o755);
  await shareTemplate(join(config.home, 'store'), join(home, 'store'));
  // A port of its own for the edge: the one that people like best would be wanted by every platform that starts at this moment.
  const environment = { ...config.environment, ALCOVE_E2B_DOMAIN: `alcove.test:${await freePort()}`, ...options.env, ALCOVE_HOME: home };
  const alcove = (...args: string[]) => run(join(options.checkout ?? root, 'alcove'), args, environment);
  const bringUp = async () => {
    const answer = await alcove('up', '--yes', '--json');
    if (answer.code !== 0) throw new Error(`./alcove up ended with ${answer.code}:\n${answer.stderr}`);
    return JSON.parse(answer.stdout) as { url: string; key: string; tenantId: string; platformKey: string };
  };
  const first = await bringUp();
  const status = async (): Promise<StatusAnswer> => JSON.parse((await alcove('status', '--json')).stdout) as StatusAnswer;
  return {
    home,
    url: first.url,
    key: first.key,
    operatorKey: first.platformKey,
    tenantId: first.tenantId,
    client: new ApiClient(first.url, first.key),
    operator: new ApiClient(first.url, first.platformKey),
    status,
    alcove,
    up: async () => void (await bringUp()),
    pidOf: async (name) => {
      const pid = (await status()).platform?.services.find((service) => service.name === name)?.pid;
      if (!pid) throw new Error(`${name} does not run`);
      return pid;
    },
    vmOf: async (roomId) => (await virtualMachines(join(home, 'host'))).find((vm) => vm.roomId === roomId)?.pid,
    killVm: async (roomId) => {
      const vm = (await virtualMachines(join(home, 'host'))).find((one) => one.roomId === roomId);
      if (!vm) throw new Error(`${roomId} has no VM`);
      process.kill(vm.pid, 'SIGKILL');
    },
    destroy: async () => {
      await alcove('down', '--now');
      for (const vm of (await status()).virtualMachines) process.kill(vm.pid, 'SIGKILL');
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** The newest default template, by hard links where that can be had. Older ones would only have to be checked. */
async function shareTemplate(from: string, to: string): Promise<void> {
  const template = builtTemplate();
  if (!template) throw new Error('there is no template: ./alcove setup builds one');
  const { folder } = template;
  const templates = join(to, 'templates');
  await mkdir(templates, { recursive: true, mode: 0o755 });
  const linked = await run('cp', ['-al', folder, templates], {});
  if (linked.code !== 0) await cp(folder, join(templates, basename(folder)), { recursive: true });
  await cp(join(from, 'templates/origins.json'), join(templates, 'origins.json'));
}

/** Runs a program to its end, with these additions to the environment. */
export async function run(program: string, args: string[], environment: Record<string, string>): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(program, args, { env: { ...testConfig().environment, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  const read = async (stream: AsyncIterable<Buffer>) => {
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  };
  const [stdout, stderr, [code]] = await Promise.all([read(child.stdout), read(child.stderr), once(child, 'close') as Promise<[number | null]>]);
  return { code: code ?? -1, stdout, stderr };
}

/** Polls until the condition gives something truthy; fails with what it was waiting for. The only waiting that these tests do. */
export async function until<T>(what: string, condition: () => Promise<T | undefined | null | false>, timeoutMs = 60_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`gave up waiting until ${what}`);
    await new Promise((later) => setTimeout(later, 25));
  }
}

export interface AgentAnswer {
  reply: string;
  turn: number;
  counter?: number;
  nonce?: string;
  [other: string]: unknown;
}

/** Says something to the agent in the room and gives its answer with what the platform says of the wake. */
export async function say(platform: Platform, roomId: string, prompt: string): Promise<{ answer: AgentAnswer; resumedFrom: string | null }> {
  const { body, resumedFrom } = await platform.client.invoke(roomId, { prompt });
  return { answer: body as AgentAnswer, resumedFrom };
}

/** The code of the problem that a call ends with, or `ok`. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'ok';
  } catch (error) {
    if (error instanceof ApiProblem) return error.code;
    throw error;
  }
}

export interface ExecResult {
  stdout: string;
  stderr: string;
  exitCode: number | null;
  truncated: boolean;
  timedOut: boolean;
  error?: string;
}

/** Runs a command in the room to its end. */
export async function exec(platform: Platform, roomId: string, command: string | string[], more: Record<string, unknown> = {}): Promise<ExecResult> {
  const answer = await platform.client.call('POST', `/v1/rooms/${roomId}/exec`, { json: { command, ...more }, headers: { accept: 'text/event-stream' } });
  const result: ExecResult = { stdout: '', stderr: '', exitCode: null, truncated: false, timedOut: false };
  const text = (data: unknown) => Buffer.from(String(data), 'base64').toString('utf8');
  for await (const event of serverSentEvents(answer)) {
    const body = JSON.parse(event.data) as { event: string; data?: string; exitCode?: number | null; truncated?: boolean; timedOut?: boolean; code?: string };
    if (body.event === 'stdout') result.stdout += text(body.data);
    if (body.event === 'stderr') result.stderr += text(body.data);
    if (body.event === 'exit') Object.assign(result, { exitCode: body.exitCode, truncated: body.truncated, timedOut: body.timedOut });
    if (body.event === 'error') result.error = body.code ?? 'unknown';
  }
  return result;
}
