import type { Clock } from '@alcove/base';
import { type ExecEvent, type ExecRequest, isProblem, Problem } from '@alcove/contracts';
import { builtIns, type Turn } from './commands';
import type { FakeFiles } from './files';
import { expand, parseScript, type Step, type Word } from './shell-words';
import { userNamed, type FakeUser } from './users';

export interface ShellRoom {
  clock: Clock;
  files: FakeFiles;
  env: Readonly<Record<string, string>>;
  /** Ends the room's VM at once: the built-in `crash`. */
  crash: () => void;
}

interface Frame {
  steps: Step[];
  at: number;
  /** Of the step that runs: what it must know at its next turn. */
  memory: Record<string, number | string>;
  /** Begun by a `bash`: as far as `exit` goes. */
  shell: boolean;
}

/** Everything that a running program is: JSON, so that it is sealed and woken with its room. */
export interface ShellState {
  pid: number;
  user: string;
  cwd: string;
  env: Record<string, string>;
  frames: Frame[];
  /** Of the last command. */
  code: number;
  /** What was written to it and not read yet, one character a byte. With a terminal, U+0004 in it is an end of input for one reader. */
  input: string;
  inputOpen: boolean;
  pty: { cols: number; rows: number } | null;
}

const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface ShellOrder {
  pid: number;
  command: string[];
  user?: string;
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  input: boolean;
  pty?: { cols: number; rows: number };
}

/** A program before its first turn. Problems `exec.not_found` (it, or its folder), `request.invalid` (the user), as from a guest. */
export function startShell(order: ShellOrder, room: ShellRoom): ShellState {
  const user = userNamed(order.user ?? 'user');
  const [program = ''] = order.command;
  if (!builtIns[baseName(program)]) throw new Problem('exec.not_found', { detail: `no program ${program}` });
  const cwd = room.files.resolve(order.cwd ?? '', user);
  if (!room.files.isFolder(cwd)) throw new Problem('exec.not_found', { detail: `no directory ${cwd}` });
  const words = order.command.map((text): Word => [{ text, literal: true }]);
  return {
    pid: order.pid,
    user: user.name,
    cwd,
    env: { ...standardEnv(user), ...room.env, ...order.env },
    frames: [{ steps: [{ join: ';', words, toStderr: false }], at: 0, memory: {}, shell: true }],
    code: 0,
    input: '',
    inputOpen: order.input,
    pty: order.pty ?? null,
  };
}

function standardEnv(user: FakeUser): Record<string, string> {
  return { PATH: path, HOME: user.home, USER: user.name, LOGNAME: user.name, SHELL: '/bin/bash', LANG: 'C.UTF-8' };
}

/** Runs the program until it has something to say, has ended or must wait. Changes `state`, at once. */
export function takeTurn(state: ShellState, room: ShellRoom): Turn {
  const frame = state.frames.at(-1);
  if (!frame) return { exit: state.code };
  const step = frame.steps[frame.at];
  if (!step) {
    state.frames.pop();
    return {};
  }
  if ((step.join === '&&' && state.code !== 0) || (step.join === '||' && state.code === 0)) return finishStep(state, frame, state.code);
  if ('test' in step) return loopTurn(state, frame, step);
  return commandTurn(state, room, frame, step);
}

function finishStep(state: ShellState, frame: Frame, code: number): Turn {
  state.code = code;
  frame.at += 1;
  frame.memory = {};
  return {};
}

function loopTurn(state: ShellState, frame: Frame, step: Extract<Step, { test: Step[] }>): Turn {
  if (frame.memory['phase'] === 'test' && state.code !== 0) return finishStep(state, frame, 0);
  const next = frame.memory['phase'] === 'test' ? 'body' : 'test';
  frame.memory['phase'] = next;
  state.frames.push({ steps: step[next], at: 0, memory: {}, shell: false });
  return {};
}

function commandTurn(state: ShellState, room: ShellRoom, frame: Frame, step: Extract<Step, { words: Word[] }>): Turn {
  const special: Record<string, string> = { $: String(state.pid), '?': String(state.code) };
  const value = (name: string) => special[name] ?? state.env[name];
  const [name = '', ...args] = step.words.map((word) => expand(word, value));
  const assigned = /^([A-Za-z_]\w*)=(.*)$/s.exec(name);
  if (assigned && args.length === 0) {
    state.env[assigned[1] ?? ''] = assigned[2] ?? '';
    return finishStep(state, frame, 0);
  }
  const builtIn = builtIns[baseName(name)];
  const turn = builtIn ? builtIn({ args, memory: frame.memory, state, room }) : { out: [{ to: 'stderr' as const, data: Buffer.from(`bash: ${name}: command not found\n`) }], exit: 127 };
  const told = redirect(turn, state, room, frame, step, value);
  if (told.script !== undefined) state.frames.push({ steps: parseScript(told.script), at: 0, memory: {}, shell: told.own === true });
  if (told.leave) return leave(state, told);
  if (told.exit === undefined) return told;
  finishStep(state, frame, told.exit);
  return { out: told.out };
}

/** `exit`: out of the innermost bash, or of everything. */
function leave(state: ShellState, turn: Turn): Turn {
  state.code = turn.exit ?? 0;
  while (state.frames.length > 0 && state.frames.pop()?.shell !== true);
  return { out: turn.out };
}

function redirect(turn: Turn, state: ShellState, room: ShellRoom, frame: Frame, step: Extract<Step, { words: Word[] }>, value: (name: string) => string | undefined): Turn {
  if (!step.file) return step.toStderr ? { ...turn, out: turn.out?.map(({ data }) => ({ to: 'stderr', data })) } : turn;
  const user = userNamed(state.user);
  const file = room.files.resolve(expand(step.file.path, value), user, state.cwd);
  const data = Buffer.concat((turn.out ?? []).filter(({ to }) => to === 'stdout').map((chunk) => chunk.data));
  const kept = (turn.out ?? []).filter(({ to }) => to === 'stderr');
  try {
    const append = step.file.append || frame.memory['opened'] === 1;
    const before = append && room.files.exists(file) ? room.files.read(file).data : Buffer.alloc(0);
    if (turn.exit !== undefined || data.length > 0 || !append) room.files.write(file, Buffer.concat([before, data]), { makeParents: false, user });
    frame.memory['opened'] = 1;
    return { ...turn, out: kept };
  } catch (error) {
    return { exit: 1, out: [...kept, { to: 'stderr', data: Buffer.from(`bash: ${file}: ${isProblem(error) ? error.code : String(error)}\n`) }] };
  }
}

export function baseName(program: string): string {
  return program.slice(program.lastIndexOf('/') + 1);
}

/** Runs one request; the events and their limits are those of the guest agent's `exec`. Ending the iteration or aborting the signal ends the command. */
export async function* runExec(request: ExecRequest, room: ShellRoom, signal: AbortSignal): AsyncGenerator<ExecEvent> {
  const command = Array.isArray(request.command) ? request.command : ['bash', '-lc', request.command];
  const state = startShell({ pid: 100, command, user: request.user, cwd: request.cwd, env: request.env, input: false }, room);
  state.input = Buffer.from(request.stdin ?? '').toString('latin1');
  const over = new AbortController();
  const timeout = new AbortController();
  room.clock.sleep(request.timeoutMs, over.signal).then(() => timeout.abort(), () => undefined);
  const ends = AbortSignal.any([signal, timeout.signal]);
  try {
    yield { event: 'start', pid: state.pid };
    yield* limited(state, room, request.outputBytes, ends, () => timeout.signal.aborted);
  } finally {
    over.abort(new Problem('guest.closed'));
  }
}

async function* limited(state: ShellState, room: ShellRoom, outputBytes: number, ends: AbortSignal, timedOut: () => boolean): AsyncGenerator<ExecEvent> {
  const killed = (truncated: boolean): ExecEvent => ({ event: 'exit', exitCode: null, signal: 'SIGKILL', timedOut: timedOut(), truncated });
  let left = outputBytes;
  for (let turns = 1; ; turns += 1) {
    const turn = takeTurn(state, room);
    for (const { to, data } of turn.out ?? []) {
      yield { event: to, data: data.subarray(0, left).toString('base64') };
      left -= data.length;
      if (left < 0) {
        yield killed(true);
        return;
      }
    }
    if (timedOut()) return void (yield killed(false));
    ends.throwIfAborted();
    if (turn.exit !== undefined) return void (yield { event: 'exit', exitCode: turn.exit, signal: null, timedOut: false, truncated: false });
    if (!(await rest({ again: turns % 64 === 0, ...turn }, room.clock, ends)) && !timedOut()) throw ends.reason;
  }
}

/** False when it was ended meanwhile. */
async function rest(turn: Turn, clock: Clock, ends: AbortSignal): Promise<boolean> {
  if (turn.until === undefined) {
    if (turn.again === true) await new Promise((resolve) => setImmediate(resolve));
    return true;
  }
  return clock.sleep(Math.max(0, turn.until - clock.now()), ends).then(
    () => true,
    () => false,
  );
}
