import { endRunningPrograms } from './run-program';

/** What has to be undone when the user interrupts, last in first out. Each step runs once, also when an earlier one fails. */
export class Interrupts {
  readonly #steps: { name: string; undo: () => Promise<unknown> }[] = [];

  add(name: string, undo: () => Promise<unknown>): () => void {
    const step = { name, undo };
    this.#steps.push(step);
    return () => {
      const at = this.#steps.indexOf(step);
      if (at >= 0) this.#steps.splice(at, 1);
    };
  }

  get isEmpty(): boolean {
    return this.#steps.length === 0;
  }

  /** Ends the programs that run and undoes everything. Resolves with the names of the steps that failed. */
  async run(): Promise<string[]> {
    const failed: string[] = [];
    endRunningPrograms();
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      await step.undo().catch(() => failed.push(step?.name ?? ''));
    }
    return failed;
  }
}
