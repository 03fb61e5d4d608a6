// What this process keeps in memory only: while a room sleeps it is in the sealed image and nowhere else.
import { createHash } from 'node:crypto';
import { kernelRandom } from './fresh-randomness.ts';

const MAX_TURNS = 500;
const MAX_TURN_CHARS = 4_000;
const MAX_FILL_MIB = 4_096;
const MIB = 1024 * 1024;

export interface Turn {
  prompt: string;
  reply: string;
}

export class Memory {
  turns = 0;
  counter = 0;
  private drawnNonce: string | undefined;
  private history: Turn[] = [];
  private ballast: Buffer[] = [];

  /** Drawn once, at the first look. */
  get nonce(): string {
    this.drawnNonce ??= kernelRandom(16).toString('hex');
    return this.drawnNonce;
  }

  get recentTurns(): readonly Turn[] {
    return this.history;
  }

  keepTurn(prompt: string, reply: string): void {
    this.history.push({ prompt: prompt.slice(0, MAX_TURN_CHARS), reply: reply.slice(0, MAX_TURN_CHARS) });
    if (this.history.length > MAX_TURNS) this.history.shift();
  }

  /** Keeps that many MiB of random bytes instead of those kept before. */
  fill(mebibytes: number): void {
    if (mebibytes > MAX_FILL_MIB) throw new Error(`at most ${MAX_FILL_MIB} MiB`);
    this.ballast = [];
    for (let index = 0; index < mebibytes; index += 1) this.ballast.push(kernelRandom(MIB));
  }

  /** SHA-256 of the bytes that `fill` keeps. */
  checksum(): { sha256: string; mebibytes: number } {
    const hash = createHash('sha256');
    for (const bytes of this.ballast) hash.update(bytes);
    return { sha256: hash.digest('hex'), mebibytes: this.ballast.length };
  }
}
