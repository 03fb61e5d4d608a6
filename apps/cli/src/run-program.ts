import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { CliFailure } from './failure';

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Bytes for standard input; without them it is closed at once. */
  input?: string;
  /** Called with every line of either stream. */
  onLine?: (line: string) => void;
  /** The program talks to the terminal itself (apt, sudo): nothing is captured. */
  inherit?: boolean;
}

const tailLines = 30;
const running = new Set<ChildProcess>();

/** Asks every program that runProgram() runs now to end. */
export function endRunningPrograms(): void {
  for (const child of running) child.kill('SIGTERM');
}

/**
 * Runs a program to its end and returns its standard output. Throws CliFailure with the end of what it said when it exits with another code than 0. Ctrl-C
 * reaches it as a member of the terminal's process group.
 */
export async function runProgram(command: string, args: string[], options: RunOptions = {}): Promise<string> {
  const stdio = options.inherit ? 'inherit' : 'pipe';
  const child = spawn(command, args, { stdio, ...(options.cwd && { cwd: options.cwd }), ...(options.env && { env: options.env }) });
  running.add(child);
  child.once('close', () => running.delete(child));
  let output = '';
  const tail: string[] = [];
  const hear = (line: string): void => {
    tail.push(line);
    if (tail.length > tailLines) tail.shift();
    options.onLine?.(line);
  };
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.input ?? '');
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  for (const stream of [child.stdout, child.stderr]) if (stream) createInterface({ input: stream }).on('line', hear);
  const ended = await new Promise<number | string>((resolve, reject) => {
    child.once('error', (cause) => reject(new CliFailure(`${command} could not be started: ${cause.message}`, { cause })));
    child.once('close', (code, signal) => resolve(signal ?? code ?? 1));
  });
  if (ended !== 0) throw new CliFailure([`${command} ${args[0] ?? ''} ended with ${ended}`, ...tail].join('\n    '));
  return output;
}

/** True when the program runs and exits with 0. */
export function succeeds(command: string, args: string[]): Promise<boolean> {
  return runProgram(command, args).then(
    () => true,
    () => false,
  );
}
