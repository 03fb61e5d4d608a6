/** One waiter, woken by the next notify(); a notify() without a waiter is kept for the next wait(). */
export class Wake {
  #noticed = false;
  #resolve: (() => void) | undefined;

  notify(): void {
    this.#noticed = true;
    this.#resolve?.();
  }

  async wait(): Promise<void> {
    if (!this.#noticed) await new Promise<void>((resolve) => (this.#resolve = resolve));
    this.#noticed = false;
    this.#resolve = undefined;
  }
}
