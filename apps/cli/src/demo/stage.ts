import { duration, type Style } from '../terminal';

/** A claim of the demo did not come true, or a step could not be done: the demo goes no further. */
export class ClaimFailed extends Error {
  override readonly name = 'ClaimFailed';
}

const nameWidth = 40;
const timeWidth = 9;

/** Prints the demo: numbered scenes, steps with their milliseconds, what was said, and claims that are checked before they are printed. */
export class Stage {
  #scene = 0;
  #claims = 0;
  constructor(
    private readonly write: (text: string) => void,
    private readonly style: Style,
  ) {}

  get claims(): number {
    return this.#claims;
  }

  scene(title: string): void {
    this.#scene++;
    this.write(`\n  ${this.style.dim(String(this.#scene))}  ${this.style.bold(title)}\n`);
  }

  /** A step that was done, how long it took, and what is worth knowing about it. */
  step(name: string, ms: number, note = ''): void {
    const time = this.style.cyan(duration(ms).padStart(timeWidth));
    this.write(`     ${name.padEnd(nameWidth)}${time}${note === '' ? '' : `   ${this.style.dim(note)}`}\n`);
  }

  /** Prints the claim when it is so. Throws ClaimFailed, after printing what was found instead, when it is not. */
  claim(text: string, holds: boolean, found = ''): void {
    if (!holds) {
      this.write(`     ${this.style.red('✗')} ${text}${found === '' ? '' : `   found: ${found}`}\n`);
      throw new ClaimFailed(text);
    }
    this.#claims++;
    this.write(`     ${this.style.green('✓')} ${text}\n`);
  }

  said(who: string, text: string): void {
    this.write(`     ${this.style.dim(`${who.padStart(5)} ›`)} ${text}\n`);
  }

  /** Opens a line that grows while an answer streams in; the returned function adds to it, and ends it when called with null. */
  saying(who: string): (text: string | null) => void {
    this.write(`     ${this.style.dim(`${who.padStart(5)} ›`)} `);
    // Line ends are held back until something follows them, so that an answer's last one leaves no gap.
    let held = '';
    return (text) => {
      if (text === null) return this.write('\n');
      const whole = held + text;
      const shown = whole.trimEnd();
      held = whole.slice(shown.length);
      this.write(shown.replaceAll('\n', '\n             '));
    };
  }

  plain(text: string): void {
    this.write(`     ${this.style.dim(text)}\n`);
  }
}
