import { isProblem } from '@alcove/contracts';
import type { ShellRoom, ShellState } from './shell';
import { userNamed } from './users';

export interface Chunk {
  to: 'stdout' | 'stderr';
  data: Buffer;
}

/** What one turn of a program came to. Without `exit` it goes on: at once, in the next round of the event loop (`again`), at a time, or when there is input. */
export interface Turn {
  out?: Chunk[];
  exit?: number;
  again?: boolean;
  /** Milliseconds of the clock's now(). */
  until?: number;
  input?: true;
  /** Run this before the command's next turn; `own`: an `exit` in it goes no further. */
  script?: string;
  own?: true;
  /** The command is `exit`. */
  leave?: true;
}

export interface Call {
  args: string[];
  memory: Record<string, number | string>;
  state: ShellState;
  room: ShellRoom;
}

export type BuiltIn = (call: Call) => Turn;

const text = (to: Chunk['to'], data: string): Chunk[] => (data === '' ? [] : [{ to, data: Buffer.from(data) }]);
const say = (data: string, exit = 0): Turn => ({ out: text('stdout', data), exit });

/** The few programs of a fake room. `yes` never stops by itself; `crash` takes the VM with it. */
export const builtIns: Readonly<Record<string, BuiltIn>> = {
  echo: ({ args }) => say(args[0] === '-n' ? args.slice(1).join(' ') : `${args.join(' ')}\n`),
  printf: ({ args }) => say(args.join('').replaceAll('\\n', '\n')),
  cat: (call) => (call.args.length === 0 ? copyInput(call) : catFiles(call)),
  sleep: ({ args, memory, room }) => {
    memory['until'] ??= room.clock.now() + Number(args[0] ?? 0) * 1000;
    const until = Number(memory['until']);
    return room.clock.now() >= until ? { exit: 0 } : { until };
  },
  exit: ({ args, state }) => ({ exit: args[0] === undefined ? state.code : Number(args[0]) & 255, leave: true }),
  true: () => ({ exit: 0 }),
  ':': () => ({ exit: 0 }),
  false: () => ({ exit: 1 }),
  env: ({ state }) => say(Object.entries(state.env).map(([name, value]) => `${name}=${value}\n`).join('')),
  printenv: ({ args, state }) => (args[0] === undefined ? say(Object.entries(state.env).map(([name, value]) => `${name}=${value}\n`).join('')) : printOne(state.env[args[0]])),
  export: ({ args, state }) => {
    for (const [, name = '', value = ''] of args.map((arg) => /^([A-Za-z_]\w*)=(.*)$/s.exec(arg) ?? [])) if (name) state.env[name] = value;
    return { exit: 0 };
  },
  pwd: ({ state }) => say(`${state.cwd}\n`),
  cd: ({ args, state, room }) => {
    const user = userNamed(state.user);
    const to = room.files.resolve(args[0] ?? user.home, user, state.cwd);
    if (!room.files.isFolder(to)) return { out: text('stderr', `bash: cd: ${args[0]}: No such file or directory\n`), exit: 1 };
    state.cwd = to;
    return { exit: 0 };
  },
  whoami: ({ state }) => say(`${state.user}\n`),
  id: ({ args, state }) => say(`${args.includes('-un') ? state.user : userNamed(state.user).uid}\n`),
  tty: ({ state }) => (state.pty ? say('/dev/pts/0\n') : say('not a tty\n', 1)),
  stty: ({ args, state }) => {
    if (!state.pty) return { out: text('stderr', 'stty: standard input: Inappropriate ioctl for device\n'), exit: 1 };
    return say(args[0] === 'size' ? `${state.pty.rows} ${state.pty.cols}\n` : '');
  },
  read: ({ args, state }) => {
    const line = takeLine(state);
    if (line === 'wait') return { input: true };
    state.env[args.at(-1) ?? 'REPLY'] = line?.replace(/\n$/, '') ?? '';
    return { exit: line === undefined || !line.endsWith('\n') ? 1 : 0 };
  },
  yes: ({ args }) => ({ out: text('stdout', `${args[0] ?? 'y'}\n`.repeat(512)), again: true }),
  bash: runShell,
  sh: runShell,
  touch: (call) => eachPath(call, (path) => touch(call, path)),
  mkdir: (call) => eachPath(call, (path, user) => (call.args.includes('-p') && call.room.files.isFolder(path) ? undefined : call.room.files.makeFolder(path, { user, makeParents: call.args.includes('-p') }))),
  rm: (call) => eachPath(call, (path) => (call.args.some((arg) => /^-\w*f/.test(arg)) && !call.room.files.exists(path) ? undefined : call.room.files.remove(path, call.args.some((arg) => /^-\w*r/.test(arg))))),
  mv: (call) => onTwo(call, (from, to) => call.room.files.rename(from, to)),
  ln: (call) => onTwo(call, (_target, path, user) => call.room.files.link(call.args.find((arg) => !arg.startsWith('-')) ?? '', path, user)),
  chmod: (call) => eachPath({ ...call, args: call.args.slice(1) }, (path) => call.room.files.changeMode(path, call.args[0] ?? '')),
  crash: ({ room }) => {
    room.crash();
    return { exit: 0 };
  },
};

function printOne(value: string | undefined): Turn {
  return value === undefined ? { exit: 1 } : say(`${value}\n`);
}

/** `bash -c SCRIPT`, and bash that reads its commands: with a terminal it prompts. */
function runShell({ args, memory, state }: Call): Turn {
  const flag = args.findIndex((arg) => /^-[a-z]*c$/.test(arg));
  if (flag >= 0) {
    if (memory['ran'] === 1) return { exit: state.code };
    memory['ran'] = 1;
    return { script: args[flag + 1] ?? '', own: true };
  }
  if (memory['asked'] !== 1 && state.pty) {
    memory['asked'] = 1;
    return { out: text('stdout', `${state.user}@room:${state.cwd}$ `), input: true };
  }
  const line = takeLine(state);
  if (line === 'wait') return { input: true };
  if (line === undefined) return { out: text('stdout', state.pty ? 'exit\n' : ''), exit: state.code };
  memory['asked'] = 0;
  return { script: line };
}

function copyInput({ state }: Call): Turn {
  const data = takeInput(state);
  if (data === 'wait') return { input: true };
  return data === undefined ? { exit: 0 } : { out: [{ to: 'stdout', data: Buffer.from(data, 'latin1') }] };
}

function catFiles({ args, state, room }: Call): Turn {
  const out: Chunk[] = [];
  for (const path of args) {
    try {
      out.push({ to: 'stdout', data: room.files.read(room.files.resolve(path, userNamed(state.user), state.cwd)).data });
    } catch (error) {
      return { out: [...out, ...text('stderr', `cat: ${path}: ${reason(error)}\n`)], exit: 1 };
    }
  }
  return { out, exit: 0 };
}

/** All there is to read; undefined at its end. */
function takeInput(state: ShellState): string | 'wait' | undefined {
  return take(state, state.input.length);
}

/** One line, or the last one that has no newline. */
function takeLine(state: ShellState): string | 'wait' | undefined {
  const end = state.input.search(state.pty ? /[\n\x04]/ : /\n/);
  if (end < 0 && state.inputOpen) return 'wait';
  return take(state, end < 0 ? state.input.length : end + 1);
}

function take(state: ShellState, count: number): string | 'wait' | undefined {
  if (state.input === '') return state.inputOpen ? 'wait' : undefined;
  const mark = state.pty ? state.input.indexOf('\x04') : -1;
  const cut = mark >= 0 && mark < count;
  const taken = state.input.slice(0, cut ? mark : count);
  // The mark itself is read away with what is before it; alone it is an end.
  state.input = state.input.slice(cut ? mark + 1 : count);
  return taken === '' ? undefined : taken;
}

function eachPath(call: Call, work: (path: string, user: ReturnType<typeof userNamed>) => void): Turn {
  const user = userNamed(call.state.user);
  for (const arg of call.args.filter((word) => !word.startsWith('-'))) {
    try {
      work(call.room.files.resolve(arg, user, call.state.cwd), user);
    } catch (error) {
      return { out: text('stderr', `${arg}: ${reason(error)}\n`), exit: 1 };
    }
  }
  return { exit: 0 };
}

function onTwo(call: Call, work: (from: string, to: string, user: ReturnType<typeof userNamed>) => void): Turn {
  const paths: string[] = [];
  const [from = '', to = ''] = call.args.filter((word) => !word.startsWith('-'));
  return eachPath({ ...call, args: [from, to] }, (path, user) => {
    paths.push(path);
    if (paths.length === 2) work(paths[0] ?? '', path, user);
  });
}

function touch({ room, state }: Call, path: string): void {
  if (!room.files.exists(path)) room.files.write(path, Buffer.alloc(0), { makeParents: false, user: userNamed(state.user) });
}

function reason(error: unknown): string {
  return isProblem(error) ? error.code : String(error);
}
