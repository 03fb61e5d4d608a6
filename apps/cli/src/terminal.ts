/** The look of the command line: calm, one line per step, colours only on a terminal that has them. Progress goes to standard error, answers to standard output. */
import { messageOf } from './failure';

export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  green(text: string): string;
  red(text: string): string;
  yellow(text: string): string;
  cyan(text: string): string;
}

export function styleFor(colour: boolean): Style {
  const wrap = (open: number, close: number) => (text: string) => (colour ? `\x1b[${open}m${text}\x1b[${close}m` : text);
  return { bold: wrap(1, 22), dim: wrap(2, 22), green: wrap(32, 39), red: wrap(31, 39), yellow: wrap(33, 39), cyan: wrap(36, 39) };
}

/** Milliseconds as a person reads them: `7 ms`, `1.24 s`, `2 min 05 s`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** Bytes as a person reads them, in powers of 1024. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

const nameWidth = 38;

/** Writes steps as they happen. On a terminal the running step is shown and replaced by its result. */
export class Progress {
  readonly #style: Style;
  constructor(
    private readonly out: NodeJS.WriteStream,
    colour: boolean,
  ) {
    this.#style = styleFor(colour && out.isTTY === true);
  }

  /** Runs work as one step, and shows its duration with what `describe` says of the result; a failure is shown and thrown on. */
  async step<T>(name: string, work: (say: (state: string) => void) => Promise<T>, describe?: (result: T) => string): Promise<T> {
    const started = performance.now();
    const result = await this.watch(name, work);
    this.done(name, performance.now() - started, describe?.(result) ?? '');
    return result;
  }

  /** Shows work while it goes on, and its failure. The caller says how it ended well, with done() or same(). */
  async watch<T>(name: string, work: (say: (state: string) => void) => Promise<T>): Promise<T> {
    this.#running(name, '');
    try {
      return await work((state) => this.#running(name, state));
    } catch (error) {
      this.#line(`${this.#style.red('✗')} ${name}`, messageOf(error).split('\n')[0] ?? '');
      throw error;
    }
  }

  done(name: string, ms: number, note = ''): void {
    this.#line(`${this.#style.green('✓')} ${name.padEnd(nameWidth)} ${duration(ms).padStart(9)}`, note);
  }

  /** A step that had nothing to do. */
  same(name: string, note = 'up to date'): void {
    this.#line(`${this.#style.dim('–')} ${this.#style.dim(name.padEnd(nameWidth))} ${''.padStart(9)}`, note);
  }

  warn(text: string): void {
    this.#line(`${this.#style.yellow('!')} ${text}`, '');
  }

  say(text = ''): void {
    this.#clear();
    this.out.write(text === '' ? '\n' : `  ${text}\n`);
  }

  title(text: string): void {
    this.#clear();
    this.out.write(`\n  ${this.#style.bold(text)}\n\n`);
  }

  #running(name: string, state: string): void {
    if (!this.out.isTTY) return;
    const line = `  ${this.#style.dim('·')} ${name} ${this.#style.dim(state)}`;
    this.out.write(`\r\x1b[2K${line.slice(0, (this.out.columns ?? 80) + 16)}`);
  }

  #line(text: string, note: string): void {
    this.#clear();
    this.out.write(`  ${text}${note === '' ? '' : `   ${this.#style.dim(note)}`}\n`);
  }

  #clear(): void {
    if (this.out.isTTY) this.out.write('\r\x1b[2K');
  }
}

/** Rows as columns, the first row dim as a heading. */
export function table(rows: string[][], style: Style): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const lines = rows.map((row, index) => {
    const line = row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('   ');
    return `  ${index === 0 ? style.dim(line) : line}`;
  });
  return `${lines.join('\n')}\n`;
}
