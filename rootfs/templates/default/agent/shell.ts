// Shell commands, as the user that the agent runs as.
import { spawn } from 'node:child_process';
import { homedir } from 'node:os';

const MAX_OUTPUT_BYTES = 256 * 1024;
const MAX_SECONDS = 600;

export interface Finished {
  exit: number | null;
  signal: string | null;
  output: string;
  truncated: boolean;
}

/** Runs `command` with bash in the home directory; `onOutput` hears what it writes while it runs. Aborting ends it and its children. */
export function runShell(command: string, signal: AbortSignal, onOutput: (text: string) => void): Promise<Finished> {
  return run(['bash', '-c', command], signal, onOutput);
}

/** Runs a program without a shell. */
export function run(command: readonly string[], signal: AbortSignal, onOutput: (text: string) => void = () => {}): Promise<Finished> {
  const [program = '', ...words] = command;
  // A process group of its own, so that ending it ends its children too.
  const child = spawn(program, words, { cwd: homedir(), detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: string[] = [];
  let length = 0;
  let truncated = false;
  const end = (): void => endGroup(child.pid);
  const take = (text: string): void => {
    const taken = text.slice(0, MAX_OUTPUT_BYTES - length);
    length += taken.length;
    chunks.push(taken);
    if (taken !== '') onOutput(taken);
    if (taken.length < text.length && !truncated) {
      truncated = true;
      end();
    }
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', take);
  }
  const timer = setTimeout(end, MAX_SECONDS * 1000);
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  return new Promise<Finished>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exit, killedBy) => resolve({ exit, signal: killedBy, output: chunks.join(''), truncated }));
  }).finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  });
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}
