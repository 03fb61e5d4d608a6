import type { ExecEvent } from '@alcove/contracts';
import { onAbort } from '../../guest-channel/on-abort';
import { Wake } from '../../guest-channel/wake';

const waitingMax = 256;

/** One who hears a process: gets all its events in order, and sets its pace. */
export class Listener {
  readonly #waiting: ExecEvent[] = [];
  readonly #changed = new Wake();
  #failure: Error | undefined;

  /** `onRoom`: it has taken something, or is gone. */
  constructor(private readonly onRoom: (gone: boolean) => void) {}

  /** So far behind that the process must wait. */
  get full(): boolean {
    return this.#waiting.length >= waitingMax;
  }
  tell(event: ExecEvent): void {
    this.#waiting.push(event);
    this.#changed.notify();
  }
  /** The events up to the process's exit. Aborting the signal only ends the listening, with its reason. */
  async *events(signal: AbortSignal): AsyncGenerator<ExecEvent, void, void> {
    const unlisten = onAbort(signal, (reason) => {
      this.#failure = reason;
      this.#changed.notify();
    });
    try {
      for (;;) {
        if (this.#failure) throw this.#failure;
        const event = this.#waiting.shift();
        if (!event) {
          await this.#changed.wait();
          continue;
        }
        this.onRoom(false);
        yield event;
        if (event.event === 'exit') return;
      }
    } finally {
      unlisten();
      this.onRoom(true);
    }
  }
}
