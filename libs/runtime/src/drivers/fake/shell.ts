import { type Clock } from '@alcove/base';
import { type ExecEvent, type ExecRequest, isProblem, Problem } from '@alcove/contracts';
import type { FakeFiles } from './files';

export interface ShellRoom {
  clock: Clock;
  files: FakeFiles;
  env: Readonly<Record<string, string>>;
  /** Ends the room's VM at once: the built-in `crash`. */
  crash: () => void;
}

type Chunk = { to: 'stdout' | 'stderr'; data: Buffer };
interface Call {
  args: string[];
  stdin: string;
  env: Readonly<Record<string, string>>;
  signal: AbortSignal;
  room: ShellRoom;
}
type BuiltIn = (call: Call) => AsyncGenerator<Chunk, number>;

const text = (to: Chunk['to'], data: string): Chunk => ({ to, data: Buffer.from(data) });

/** The few programs of a fake room. `yes` never stops by itself; `crash` takes the VM with it. */
const builtIns: Record<string, BuiltIn> = {
  async *echo({ args }) {
    yield text('stdout', `${args.join(' ')}\n`);
    return 0;
  },
  async *printf({ args }) {
    yield text('stdout', args.join('').replaceAll('\\n', '\n'));
    return 0;
  },
  async *cat({ args, stdin, room }) {
    if (args.length === 0) yield text('stdout', stdin);
    for (const path of args) {
      try {
        yield { to: 'stdout', data: room.files.read(path).data };
      } catch (error) {
        yield text('stderr', `cat: ${path}: ${isProblem(error) ? error.code : String(error)}\n`);
        return 1;
      }
    }
    return 0;
  },
  async *sleep({ args, signal, room }) {
    await room.clock.sleep(Number(args[0] ?? 0) * 1000, signal);
    return 0;
  },
  async *exit({ args }) {
    return Number(args[0] ?? 0);
  },
  async *true() {
    return 0;
  },
  async *false() {
    return 1;
  },
  async *env({ env }) {
    for (const [name, value] of Object.entries(env)) yield text('stdout', `${name}=${value}\n`);
    return 0;
  },
  async *yes({ args, signal }) {
    const lines = Buffer.from(`${args[0] ?? 'y'}\n`.repeat(512));
    while (!signal.aborted) {
      await new Promise((resolve) => setImmediate(resolve));
      yield { to: 'stdout', data: lines };
    }
    return 130;
  },
  async *crash({ room }) {
    room.crash();
    return 0;
  },
};

interface Step {
  words: string[];
  toStderr: boolean;
  /** `&&`: runs only after a step that ended with 0. */
  needsSuccess: boolean;
}

/** Splits `a 'b c' >&2; d && e`: words, quotes, `;`, `&&`, `>&2` and `$NAME`, nothing else of a shell. */
function parse(line: string, env: Readonly<Record<string, string>>): Step[] {
  const steps: Step[] = [];
  let current: Step = { words: [], toStderr: false, needsSuccess: false };
  const expand = (word: string) => word.replace(/\$([A-Za-z_]\w*)/g, (_all, name: string) => env[name] ?? '');
  for (const [token, single, double] of line.matchAll(/'([^']*)'|"([^"]*)"|&&|;|>&2|[^\s;'"&>]+/g)) {
    if (token === ';' || token === '&&') {
      steps.push(current);
      current = { words: [], toStderr: false, needsSuccess: token === '&&' };
    } else if (token === '>&2') current.toStderr = true;
    else current.words.push(single ?? expand(double ?? token));
  }
  return [...steps, current].filter((step) => step.words.length > 0);
}

async function* runSteps(steps: Step[], call: Omit<Call, 'args'>): AsyncGenerator<Chunk, number> {
  let code = 0;
  for (const step of steps) {
    if (step.needsSuccess && code !== 0) continue;
    const [name = '', ...args] = step.words;
    const builtIn = builtIns[name];
    if (!builtIn) {
      yield text('stderr', `bash: ${name}: command not found\n`);
      code = 127;
      continue;
    }
    const chunks = builtIn({ ...call, args });
    let next = await chunks.next();
    for (; !next.done; next = await chunks.next()) yield step.toStderr ? { ...next.value, to: 'stderr' } : next.value;
    code = next.value;
    if (name === 'exit') return code;
  }
  return code;
}

/** Runs one request; the events and their limits are those of the guest agent's `exec`. Ending the iteration or aborting the signal ends the command. */
export async function* runExec(request: ExecRequest, room: ShellRoom, signal: AbortSignal): AsyncGenerator<ExecEvent> {
  const env = { HOME: '/home/user', ...room.env, ...request.env };
  const steps = Array.isArray(request.command) ? [{ words: request.command, toStderr: false, needsSuccess: false }] : parse(request.command, env);
  if (Array.isArray(request.command) && !builtIns[request.command[0] ?? '']) throw new Problem('exec.not_found', { detail: request.command[0] ?? '' });
  const over = new AbortController();
  const timeout = new AbortController();
  room.clock.sleep(request.timeoutMs, over.signal).then(() => timeout.abort(), () => undefined);
  const ends = AbortSignal.any([signal, timeout.signal]);
  try {
    yield { event: 'start', pid: 100 };
    yield* limited(runSteps(steps, { stdin: request.stdin ?? '', env, signal: ends, room }), request.outputBytes, ends, () => timeout.signal.aborted);
  } finally {
    over.abort(new Problem('guest.closed'));
  }
}

async function* limited(chunks: AsyncGenerator<Chunk, number>, outputBytes: number, ends: AbortSignal, timedOut: () => boolean): AsyncGenerator<ExecEvent> {
  const killed = (truncated: boolean): ExecEvent => ({ event: 'exit', exitCode: null, signal: 'SIGKILL', timedOut: timedOut(), truncated });
  let left = outputBytes;
  try {
    for (let next = await chunks.next(); ; next = await chunks.next()) {
      if (next.done) {
        yield timedOut() ? killed(false) : { event: 'exit', exitCode: next.value, signal: null, timedOut: false, truncated: false };
        return;
      }
      yield { event: next.value.to, data: next.value.data.subarray(0, left).toString('base64') };
      left -= next.value.data.length;
      if (left < 0) {
        yield killed(true);
        return;
      }
    }
  } catch (error) {
    if (!timedOut()) throw ends.aborted ? ends.reason : error;
    yield killed(false);
  } finally {
    await chunks.return(0);
  }
}
