import type { ShellState } from './shell';

/** What a terminal makes of the keys: `echo` is what it shows of them, `interrupt` that Ctrl-C was one of them. Puts what a program can read into `state.input`. */
export function type(state: ShellState, keys: string): { echo: string; interrupt: boolean } {
  let echo = '';
  let interrupt = false;
  for (const key of keys) {
    if (key === '\x03') {
      interrupt = true;
      echo += '^C\r\n';
      state.input = '';
    } else if (key === '\x04') {
      state.input += key;
    } else {
      const plain = key === '\r' ? '\n' : key;
      state.input += plain;
      echo += plain === '\n' ? '\r\n' : plain;
    }
  }
  return { echo, interrupt };
}

/** What a terminal shows of a program's output. */
export function shown(data: Buffer): Buffer {
  return Buffer.from(data.toString('latin1').replace(/\r?\n/g, '\r\n'), 'latin1');
}
