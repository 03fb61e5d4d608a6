import type { Random } from '@alcove/base';
import type { VirtualNode } from './virtual-time';

export interface NetworkOptions {
  readonly random: Random;
  readonly latencyMaxMs: number;
  /** One in that many requests, and one in that many answers, is lost; 0: none. */
  readonly lossOneIn: number;
  /** One in that many requests arrives twice; 0: none. */
  readonly twiceOneIn: number;
}

/** The call did not come back: carried out or not, nobody can tell. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

const giveUpMs = 2_000;

/** Calls between nodes, with everything that a network does to them. */
export class SimNetwork {
  readonly #options: NetworkOptions;
  /** Directed: `from>to`, where a name is a node's. */
  readonly #cuts = new Set<string>();
  #calm = false;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  mend(from: string, to: string): void {
    this.#cuts.delete(`${from}>${to}`);
  }

  /** From here on nothing goes wrong by itself, and every cut is mended. */
  calm(): void {
    this.#calm = true;
    this.#cuts.clear();
  }

  /** Runs `work` on the other node. Throws what it throws, or Unreachable. Results cross as JSON. */
  async call<T>(from: VirtualNode, to: () => VirtualNode, work: () => Promise<T>): Promise<T> {
    await this.#travel(from);
    const target = to();
    if (!target.alive || this.#lost(from.name, target.name)) return this.#giveUp(from);
    const outcome = work();
    if (this.#oneIn(this.#options.twiceOneIn)) work().catch(() => undefined);
    const broken = Symbol('broken');
    const result = await Promise.race([outcome, target.died.then(() => broken)]);
    if (result === broken) return this.#giveUp(from);
    await this.#travel(from);
    if (this.#lost(target.name, from.name)) return this.#giveUp(from);
    return result === undefined ? (result as T) : (JSON.parse(JSON.stringify(result)) as T);
  }

  #travel(from: VirtualNode): Promise<void> {
    return from.sleep(this.#options.random.below(this.#options.latencyMaxMs + 1));
  }

  async #giveUp(from: VirtualNode): Promise<never> {
    await from.sleep(giveUpMs);
    throw new Unreachable();
  }

  #lost(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`) || this.#oneIn(this.#options.lossOneIn);
  }

  #oneIn(n: number): boolean {
    return !this.#calm && n > 0 && this.#options.random.below(n) === 0;
  }
}
