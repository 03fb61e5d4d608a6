import { Secret } from '@alcove/base';
import { KeyCache } from './key-cache';

describe('the memory of unwrapped keys', () => {
  let now = 0;
  const clock = { monotonic: (): number => now };
  const key = (byte: number): Secret<Buffer> => new Secret(Buffer.alloc(32, byte));
  const has = (cache: KeyCache, name: string): boolean => cache.get(name) !== undefined;
  /** The buffers that the cache itself holds: copies of what was put. */
  function watched(cache: KeyCache, name: string, byte: number, until = 100): Buffer {
    const from = jest.spyOn(Buffer, 'from');
    cache.put(name, key(byte), until);
    const kept = from.mock.results.at(-1)?.value as Buffer;
    from.mockRestore();
    return kept;
  }
  beforeEach(() => {
    now = 0;
  });

  it('overwrites a key that leaves, the one that was used longest ago', () => {
    const cache = new KeyCache(2, clock);
    cache.put('a', key(1), 100);
    const b = watched(cache, 'b', 2);
    expect(has(cache, 'a')).toBe(true);
    cache.put('c', key(3), 100);
    expect(has(cache, 'b')).toBe(false);
    expect(b).toEqual(Buffer.alloc(32));
    expect([has(cache, 'a'), has(cache, 'c')]).toEqual([true, true]);
  });

  it('gives out copies, which stay when the key leaves', () => {
    const cache = new KeyCache(2, clock);
    const kept = watched(cache, 'a', 1);
    const copy = cache.get('a');
    cache.forget('a');
    expect(kept).toEqual(Buffer.alloc(32));
    expect(copy?.key.expose()).toEqual(Buffer.alloc(32, 1));
  });

  it('keeps no key for longer than its time, whoever asks for it meanwhile, and nobody makes it longer', () => {
    const cache = new KeyCache(2, clock);
    const kept = watched(cache, 'a', 1, 100);
    now = 99;
    expect(cache.get('a')?.until).toBe(100);
    cache.put('a', key(1), 1_000);
    now = 100;
    expect(has(cache, 'a')).toBe(false);
    expect(kept).toEqual(Buffer.alloc(32));
  });

  it('overwrites what is over also when nobody asks', () => {
    const cache = new KeyCache(9, clock);
    const [a, b] = [watched(cache, 'a', 1, 10), watched(cache, 'b', 2, 20)];
    now = 10;
    cache.sweep();
    expect([a, b]).toEqual([Buffer.alloc(32), Buffer.alloc(32, 2)]);
    expect(cache.size).toBe(1);
  });

  it('forgets by the beginning of the name', () => {
    const cache = new KeyCache(9, clock);
    cache.put('user/t/ann/1', key(1), 100);
    cache.put('user/t/anna/1', key(2), 100);
    cache.forget('user/t/ann/');
    expect([has(cache, 'user/t/ann/1'), has(cache, 'user/t/anna/1')]).toEqual([false, true]);
  });
});
