import { isIPv4 } from 'node:net';
import { limits } from '@alcove/base';
import { Refusal, replies } from './replies';

/** Gives a place back. */
export type Leave = () => void;

/** Places under names, of each name no more than `most`. */
export class Places {
  readonly #taken = new Map<string, number>();
  constructor(private readonly most: number) {}

  /** Takes a place. What it returns must be called once; null when all of that name are taken. */
  take(name: string): Leave | null {
    const taken = this.#taken.get(name) ?? 0;
    if (taken >= this.most) return null;
    this.#taken.set(name, taken + 1);
    return () => {
      const left = (this.#taken.get(name) ?? 1) - 1;
      if (left > 0) this.#taken.set(name, left);
      else this.#taken.delete(name);
    };
  }
}

/** Of whom an exchange is once that is known: a room's `stranger` (no token of the room, or a port of it), or somebody who calls the `api`, whose key is not ours to check. */
export type Kind = 'stranger' | 'api';

/** The place of one exchange at this edge. */
export interface Seat {
  /** Throws Refusal when all places of that kind are taken. Once is enough. */
  belong(kind: Kind): void;
  /** The caller has shown the room's token: it is no longer counted under its address. */
  shown(): void;
}

/**
 * All exchanges of this edge. What nobody has shown a token for has a part of the places only, so that whoever has one finds one; and one address has a part of these,
 * unless `addresses` is false, because all callers come from the same: a proxy's.
 */
export class Crowd {
  readonly #all = new Places(limits.edge.exchanges);
  readonly #kinds = new Places(limits.edge.exchangesPerKind);
  readonly #addresses = new Places(limits.edge.exchangesPerAddress);
  constructor(private readonly addresses: boolean) {}

  /** Runs `work` on a place. Throws Refusal when there is none. */
  async seat(remoteAddress: string, work: (seat: Seat) => Promise<void>): Promise<void> {
    const taken: Leave[] = [];
    const take = (leave: Leave | null, refusal: () => Refusal): Leave => {
      if (!leave) throw refusal();
      taken.push(leave);
      return leave;
    };
    try {
      take(this.#all.take(''), () => new Refusal(replies.busy()));
      let address: Leave | null = this.addresses ? take(this.#addresses.take(neighbourhood(remoteAddress)), () => new Refusal(replies.busyAddress())) : null;
      let known = false;
      const belong = (kind: Kind): void => {
        if (known) return;
        known = true;
        take(this.#kinds.take(kind), () => new Refusal(replies.busy()));
      };
      const shown = (): void => {
        if (address) taken.splice(taken.indexOf(address), 1);
        address?.();
        address = null;
      };
      await work({ belong, shown });
    } finally {
      for (const leave of taken) leave();
    }
  }
}

/** Whose an address is, as far as it can be told: IPv4 as it is, of IPv6 the /64, which one customer has whole. Pure. */
export function neighbourhood(address: string): string {
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined || isIPv4(address)) return mapped ?? address;
  const [before = '', after] = (address.split('%')[0] ?? '').split('::');
  const [head, tail] = [before, after ?? ''].map((text) => text.split(':').filter(Boolean)) as [string[], string[]];
  const zeros = after === undefined ? 0 : Math.max(0, 8 - head.length - tail.length);
  return [...head, ...Array<string>(zeros).fill('0'), ...tail].slice(0, 4).map((group) => group.toLowerCase().replace(/^0+(?=.)/, '')).join(':');
}
