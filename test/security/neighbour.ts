import type { ApiClient } from '../../apps/cli/src/api-client';
import { messageOf } from '../../apps/cli/src/failure';

/** How long the neighbour leaves its room alone between two questions. */
const pauseMs = 50;

/** A room of another tenant that is talked to without end: every answer must be the right one, whatever the rooms beside it do. */
export class Neighbour {
  #counter = 0;
  private constructor(
    private readonly client: ApiClient,
    private readonly roomId: string,
  ) {}

  static async moveIn(client: ApiClient): Promise<Neighbour> {
    const neighbour = new Neighbour(client, (await client.createRoom({ userId: 'neighbour' })).id);
    await neighbour.ask();
    return neighbour;
  }

  /** One question. Throws unless the answer is the next number: a room that was started anew would begin at one. */
  async ask(): Promise<void> {
    const { body } = await this.client.invoke(this.roomId, { prompt: 'count' });
    const { counter } = body as { counter?: number };
    this.#counter += 1;
    if (counter !== this.#counter) throw new Error(`the neighbour counted ${counter}, not ${this.#counter}`);
  }

  /** Asks over and over until `during` has settled; gives its outcome, how many answers there were meanwhile, and every question that was not answered rightly. */
  async watch<T>(during: () => Promise<T>): Promise<{ outcome: T; answers: number; failures: string[] }> {
    let over = false;
    const failures: string[] = [];
    let answers = 0;
    const asking = (async () => {
      do {
        await this.ask().then(
          () => (answers += 1),
          (error: unknown) => failures.push(messageOf(error)),
        );
        await new Promise((later) => setTimeout(later, pauseMs));
      } while (!over);
    })();
    try {
      const outcome = await during();
      over = true;
      await asking;
      return { outcome, answers, failures };
    } finally {
      over = true;
    }
  }
}
