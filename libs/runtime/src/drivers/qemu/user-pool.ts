import { Problem } from '@alcove/contracts';

/** More VMs than a host ever runs. */
const usersMax = 10_000;

/** Gives every VM a user number of its own, so that a VMM that a guest has taken over owns nothing but itself. Without a base there is one user for all. */
export class UserPool {
  readonly #base: number | null;
  readonly #taken = new Set<number>();
  constructor(base: number | null) {
    this.#base = base;
  }
  take(): number | null {
    if (this.#base === null) return null;
    for (let uid = this.#base; uid < this.#base + usersMax; uid++) {
      if (this.#taken.has(uid)) continue;
      this.#taken.add(uid);
      return uid;
    }
    throw new Problem('host.capacity', { detail: 'every user number for rooms is taken' });
  }
  /** Of a VM that was found running. */
  occupy(uid: number | null): void {
    if (uid !== null) this.#taken.add(uid);
  }
  release(uid: number | null): void {
    if (uid !== null) this.#taken.delete(uid);
  }
}
