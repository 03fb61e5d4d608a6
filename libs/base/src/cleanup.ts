/** Undo steps run last in, first out, each of them even when an earlier one throws. Invariant: after run() the stack is empty. */
export class Cleanup {
  readonly #steps: { name: string; undo: () => unknown }[] = [];
  add(name: string, undo: () => unknown): void {
    this.#steps.push({ name, undo });
  }
  /** Forgets every step: what was built is kept. */
  keep(): void {
    this.#steps.length = 0;
  }
  /** Runs every step; resolves with the failures, which the caller logs. */
  async run(): Promise<{ name: string; error: unknown }[]> {
    const failures: { name: string; error: unknown }[] = [];
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        failures.push({ name: step.name, error });
      }
    }
    return failures;
  }
}
