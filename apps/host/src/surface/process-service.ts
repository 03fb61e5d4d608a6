import { limits } from '@alcove/base';
import { type ExecEvent, isProblem, Problem, ProcessStart } from '@alcove/contracts';
import type { ProcessName } from '@alcove/runtime';
import { z } from 'zod';
import { check } from '../http/answer';
import { giveInput, signalNumber } from '../services/processes';
import { accountOf, checkedName } from './accounts';
import type { Call, StreamCall, UnaryCall } from './call';
import type { EventStream } from './event-stream';
import { SurfaceError } from './surface-error';

// The JSON form of process.proto's messages. Unknown fields are passed over, as proto3 wants; null stands for a field that is not there.
const absent = <S extends z.ZodType>(schema: S) => schema.nullish().transform((value) => value ?? undefined);
const bytes = z.string().regex(/^[A-Za-z0-9+/_-]*={0,2}$/, 'not base64').transform((text) => Buffer.from(text, 'base64'));
const Size = z.object({ cols: z.int().default(0), rows: z.int().default(0) });
const Pty = z.object({ size: absent(Size) });
const Selector = z.object({ pid: absent(z.int().min(0).max(2 ** 32 - 1)), tag: absent(z.string()) });
const Start = z.object({
  process: z.object({ cmd: z.string().default(''), args: absent(z.array(z.string())), envs: absent(z.record(z.string(), z.string())), cwd: absent(z.string()) }),
  pty: absent(Pty),
  tag: absent(z.string()),
  stdin: absent(z.boolean()),
});
const Named = z.object({ process: Selector });
const Input = z.object({ process: Selector, input: z.object({ stdin: absent(bytes), pty: absent(bytes) }) });
const Update = z.object({ process: Selector, pty: absent(Pty) });
const Signal = z.object({ process: Selector, signal: z.union([z.enum(['SIGNAL_SIGTERM', 'SIGNAL_SIGKILL']), z.literal(15), z.literal(9)]) });

export const processUnary: Record<string, UnaryCall> = {
  async List({ guest, signal }) {
    const processes = await guest.listProcesses(signal);
    return {
      processes: processes.map(({ pid, tag, command: [cmd = '', ...args], env, cwd }) => ({ config: { cmd, args, envs: env, ...(cwd === null ? {} : { cwd }) }, pid, ...(tag === null ? {} : { tag }) })),
    };
  },
  async SendInput({ guest, signal }, message) {
    const { process, input } = check(Input, message);
    await giveInput(guest, nameOf(process), input.stdin ?? input.pty ?? Buffer.alloc(0), false, signal);
    return {};
  },
  async CloseStdin({ guest, signal }, message) {
    await giveInput(guest, nameOf(check(Named, message).process), Buffer.alloc(0), true, signal);
    return {};
  },
  async SendSignal({ guest, signal }, message) {
    const order = check(Signal, message);
    await guest.signalProcess(nameOf(order.process), typeof order.signal === 'number' ? order.signal : signalNumber(order.signal.slice('SIGNAL_'.length)), signal);
    return {};
  },
  async Update({ guest, signal }, message) {
    const { process, pty } = check(Update, message);
    if (pty?.size) await guest.resizeProcess(nameOf(process), sizeOf(pty.size), signal);
    return {};
  },
};

export const processStreams: Record<string, StreamCall> = {
  Start: { keepAlive: { event: { keepalive: {} } }, ownTime: true, run: start },
  Connect: {
    keepAlive: { event: { keepalive: {} } },
    run: async (call, message, events) => {
      const which = nameOf(check(Named, message).process);
      const processes = await call.guest.listProcesses(call.signal);
      const onTerminal = processes.some((one) => one.pty && ('pid' in which ? one.pid === which.pid : one.tag === which.tag));
      await tell(call.guest.attachProcess(which, call.signal), events, onTerminal);
    },
  },
};

/** The caller's leaving only ends the listening: the guest keeps the process, and ends it when its time is over. */
async function start(call: Call, message: unknown, events: EventStream): Promise<void> {
  const { process, pty, tag, stdin } = check(Start, message);
  const user = await actingUser(call);
  const order = check(ProcessStart, {
    command: [process.cmd, ...(process.args ?? [])],
    ...(process.envs === undefined ? {} : { env: process.envs }),
    ...(process.cwd ? { cwd: process.cwd } : {}),
    user,
    // What is longer than any timeout of ours is none.
    ...(call.timeoutMs === undefined || call.timeoutMs > limits.exec.timeoutMsMax ? {} : { timeoutMs: call.timeoutMs }),
    ...(tag ? { tag } : {}),
    // Callers from before the field expect an open input.
    stdin: stdin ?? true,
    ...(pty ? { pty: sizeOf(pty.size ?? { cols: 0, rows: 0 }) } : {}),
  });
  const told = call.guest.startProcess(order, call.signal);
  try {
    await tell(told, events, pty !== undefined);
  } catch (error) {
    throw await startFailure(call, order, error);
  }
}

/** What could not be started was asked for wrongly: the program is not there, or the folder to start it in. */
async function startFailure({ guest, signal }: Call, { cwd, user }: ProcessStart, error: unknown): Promise<unknown> {
  if (!isProblem(error, 'exec.not_found') && !isProblem(error, 'file.not_found') && !isProblem(error, 'file.kind')) return error;
  const folder = cwd === undefined ? undefined : await guest.statFile(cwd, signal, { user: 'root', owner: user ?? 'user', follow: true }).catch(() => null);
  const isMissing = folder !== undefined && folder?.kind !== 'directory';
  return new SurfaceError('invalid_argument', isMissing ? `cwd '${cwd}' does not exist` : (error.detail ?? 'no such command'));
}

async function actingUser({ guest, user, signal }: Call): Promise<string> {
  const name = checkedName(user);
  if (user !== undefined && name !== 'user' && name !== 'root') await accountOf(guest, name, signal);
  return name;
}

async function tell(told: AsyncIterable<ExecEvent>, events: EventStream, onTerminal: boolean): Promise<void> {
  for await (const event of told) {
    if (event.event === 'exit' && event.timedOut) throw new SurfaceError('deadline_exceeded', 'the operation timed out');
    await events.send({ event: processEvent(event, onTerminal) });
  }
}

/** process.ProcessEvent. */
export function processEvent(event: ExecEvent, onTerminal: boolean): unknown {
  switch (event.event) {
    case 'start':
      return { start: { pid: event.pid } };
    case 'stdout':
      return { data: onTerminal ? { pty: event.data } : { stdout: event.data } };
    case 'stderr':
      return { data: { stderr: event.data } };
    case 'exit':
      return { end: endOf(event.exitCode, event.signal) };
    case 'error':
      throw new Problem('guest.io', { detail: event.detail });
  }
}

/** As Go says it, because E2B's callers read it: -1 and `signal: killed` for one that a signal ended. */
function endOf(exitCode: number | null, signal: string | null): unknown {
  if (signal !== null || exitCode === null) {
    const status = `signal: ${signalWords[signal ?? ''] ?? (signal ?? 'unknown').toLowerCase()}`;
    return { exitCode: -1, exited: false, status, error: status };
  }
  const status = `exit status ${exitCode}`;
  return { exitCode, exited: true, status, ...(exitCode === 0 ? {} : { error: status }) };
}

const signalWords: Record<string, string> = {
  SIGHUP: 'hangup', SIGINT: 'interrupt', SIGQUIT: 'quit', SIGILL: 'illegal instruction', SIGTRAP: 'trace/breakpoint trap', SIGABRT: 'aborted', SIGBUS: 'bus error',
  SIGFPE: 'floating point exception', SIGKILL: 'killed', SIGUSR1: 'user defined signal 1', SIGSEGV: 'segmentation fault', SIGUSR2: 'user defined signal 2',
  SIGPIPE: 'broken pipe', SIGALRM: 'alarm clock', SIGTERM: 'terminated',
};

function nameOf({ pid, tag }: { pid?: number | undefined; tag?: string | undefined }): ProcessName {
  if (pid !== undefined) return { pid };
  if (tag !== undefined && tag.length <= limits.exec.tagChars && !tag.includes('\0')) return { tag };
  throw new SurfaceError('invalid_argument', 'a process is named by its pid or its tag');
}

/** A terminal has at least one of each: 0 is what a caller says who does not know. */
function sizeOf({ cols, rows }: { cols: number; rows: number }): { cols: number; rows: number } {
  const within = (count: number, otherwise: number) => (count < 1 ? otherwise : Math.min(count, 1000));
  return { cols: within(cols, 80), rows: within(rows, 24) };
}
