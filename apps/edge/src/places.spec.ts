import { limits } from '@alcove/base';
import fc from 'fast-check';
import { Crowd, neighbourhood, Places, type Leave, type Seat } from './places';
import { Refusal } from './replies';

const seed = 20_261_126;

it('never gives more than there are, and gives back exactly what was taken', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.boolean()), { maxLength: 60 }), (most, moves) => {
      const places = new Places(most);
      const taken: Record<string, Leave[]> = { a: [], b: [] };
      for (const [name, leaves] of moves) {
        const mine = taken[name] as Leave[];
        if (leaves) mine.pop()?.();
        else {
          const leave = places.take(name);
          expect(leave === null).toBe(mine.length === most);
          if (leave) mine.push(leave);
        }
      }
    }),
    { seed },
  );
});

/** Holds a place until it is let go; the status of the refusal where there is none. */
function hold(crowd: Crowd, address: string, then: (seat: Seat) => void = () => undefined): { refused: () => number | null; go: () => void } {
  let go = (): void => undefined;
  let refused: number | null = null;
  const held = new Promise<void>((resolve) => (go = resolve));
  void crowd.seat(address, (seat) => (then(seat), held)).catch((error: unknown) => (refused = error instanceof Refusal ? error.reply.status : -1));
  return { refused: () => refused, go };
}
const settled = (): Promise<void> => new Promise((next) => setImmediate(next));

it('keeps places for whoever shows a token, however many others come, from however many addresses', async () => {
  const crowd = new Crowd(true);
  const strangers = Array.from({ length: limits.edge.exchangesPerKind + 10 }, (_none, i) => hold(crowd, `10.0.${i >> 8}.${i & 255}`, (seat) => seat.belong('stranger')));
  const callers = Array.from({ length: limits.edge.exchangesPerKind + 10 }, (_none, i) => hold(crowd, `10.1.${i >> 8}.${i & 255}`, (seat) => seat.belong('api')));
  await settled();
  for (const all of [strangers, callers]) expect(all.map(({ refused }) => refused()).filter((status) => status === 503)).toHaveLength(10);
  const owner = hold(crowd, '10.2.0.1', (seat) => seat.shown());
  await settled();
  expect(owner.refused()).toBeNull();
  for (const { go } of [...strangers, ...callers, owner]) go();
  await settled();
  const later = hold(crowd, '10.0.0.1', (seat) => seat.belong('stranger'));
  await settled();
  expect(later.refused()).toBeNull();
  later.go();
});

it('bounds what comes from one address, not counting who has shown a token, and not at all behind a proxy', async () => {
  for (const [counted, expected] of [[true, 429], [false, null]] as const) {
    const crowd = new Crowd(counted);
    const owners = Array.from({ length: 20 }, () => hold(crowd, '10.0.0.1', (seat) => seat.shown()));
    const others = Array.from({ length: limits.edge.exchangesPerAddress }, () => hold(crowd, '10.0.0.1'));
    await settled();
    expect([...owners, ...others].filter(({ refused }) => refused() !== null)).toEqual([]);
    const last = hold(crowd, '::ffff:10.0.0.1');
    const other = hold(crowd, '10.0.0.2');
    await settled();
    expect([last.refused(), other.refused()]).toEqual([expected, null]);
    for (const { go } of [...owners, ...others, last, other]) go();
  }
});

it.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:DB8:0001:2::1', '2001:db8:1:2'],
  ['2001:db8::1', '2001:db8:0:0'],
  ['::1', '0:0:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
  ['', ''],
])('takes %s for one of %s', (address, group) => {
  expect(neighbourhood(address)).toBe(group);
});
