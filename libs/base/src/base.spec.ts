import { inspect } from 'node:util';
import { Cleanup } from './cleanup';
import { systemClock } from './clock';
import { newId, newUuid } from './ids';
import { KeyedQueue } from './keyed-queue';
import { seededRandom } from './random';
import { Secret } from './secret';

it('hides a secret from every way of printing', () => {
  const secret = new Secret('hunter2');
  expect([String(secret), JSON.stringify({ secret }), inspect(secret), inspect({ a: { secret } }, { depth: 5 })].join(' ')).not.toContain('hunter2');
  expect(secret.expose()).toBe('hunter2');
});

it('replays a seed and shapes ids', () => {
  expect(newId('room', seededRandom(7))).toBe(newId('room', seededRandom(7)));
  expect(newId('room', seededRandom(7))).not.toBe(newId('room', seededRandom(8)));
  expect(newId('room')).toMatch(/^room_[0-9a-f]{20}$/);
  expect(newUuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const random = seededRandom(1);
  const draws = Array.from({ length: 1000 }, () => random.below(10));
  expect(new Set(draws).size).toBe(10);
});

it('undoes last in, first out, and goes on after a failure', async () => {
  const order: number[] = [];
  const cleanup = new Cleanup();
  cleanup.add('one', () => order.push(1));
  cleanup.add('two', () => {
    throw new Error('no');
  });
  cleanup.add('three', () => order.push(3));
  expect((await cleanup.run()).map((f) => f.name)).toEqual(['two']);
  expect(order).toEqual([3, 1]);
  expect(await cleanup.run()).toEqual([]);
});

it('runs one at a time per key, in order, past failures, and forgets idle keys', async () => {
  const queue = new KeyedQueue();
  const order: string[] = [];
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  const first = queue.run('a', async () => {
    await gate;
    order.push('a1');
    throw new Error('a1 fails');
  });
  const second = queue.run('a', async () => void order.push('a2'));
  await queue.run('b', async () => void order.push('b1'));
  open();
  await expect(first).rejects.toThrow('a1 fails');
  await second;
  await queue.run('a', async () => undefined);
  expect(order).toEqual(['b1', 'a1', 'a2']);
  await Promise.resolve();
  expect(queue.busyKeys).toBe(0);
});

it('wakes a sleeper that is aborted, with the reason', async () => {
  const abort = new AbortController();
  const asleep = systemClock.sleep(1e9, abort.signal);
  abort.abort(new Error('enough'));
  await expect(asleep).rejects.toThrow('enough');
  await expect(systemClock.sleep(1, abort.signal)).rejects.toThrow('enough');
});
