import { mapAhead, ReadAhead } from './pipeline';

async function* count(to: number, onRead: (n: number) => void = () => undefined): AsyncGenerator<number> {
  for (let n = 1; n <= to; n++) {
    onRead(n);
    yield n;
  }
}
async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of source) found.push(item);
  return found;
}

describe('mapAhead', () => {
  it('keeps the order and bounds what is under way', async () => {
    let underWay = 0;
    let most = 0;
    const mapped = mapAhead(count(20), 3, async (n) => {
      most = Math.max(most, ++underWay);
      for (let turns = n % 4; turns > 0; turns--) await Promise.resolve();
      underWay--;
      return n * 2;
    });
    expect(await all(mapped)).toEqual(Array.from({ length: 20 }, (_, index) => (index + 1) * 2));
    expect(most).toBeLessThanOrEqual(3);
  });

  it('fails where the failing item stands, and closes its source', async () => {
    let closed = false;
    async function* source(): AsyncGenerator<number> {
      try {
        yield* count(10);
      } finally {
        closed = true;
      }
    }
    const seen: number[] = [];
    const consume = async () => {
      for await (const n of mapAhead(source(), 3, async (item) => (item === 4 ? Promise.reject(new Error('four')) : item))) seen.push(n);
    };
    await expect(consume()).rejects.toThrow('four');
    expect(seen).toEqual([1, 2, 3]);
    expect(closed).toBe(true);
  });
});

describe('reading ahead', () => {
  it('reads to the end before anybody consumes, when it fits', async () => {
    const ahead = new ReadAhead(count(50), 100, () => 1);
    await ahead.drained;
    expect(await all(ahead)).toHaveLength(50);
  });

  it('stops at its bound until something is taken', async () => {
    let read = 0;
    const ahead = new ReadAhead(count(50, () => read++), 10, () => 1);
    for (let turns = 0; turns < 200; turns++) await Promise.resolve();
    expect(read).toBe(10);
    expect(await all(ahead)).toHaveLength(50);
    await ahead.drained;
  });

  it('hands on a failure after what came before it', async () => {
    async function* source(): AsyncGenerator<number> {
      yield 1;
      throw new Error('broken');
    }
    const ahead = new ReadAhead(source(), 10, () => 1);
    const seen: number[] = [];
    const consume = async () => {
      for await (const n of ahead) seen.push(n);
    };
    await expect(consume()).rejects.toThrow('broken');
    expect(seen).toEqual([1]);
    await ahead.drained;
  });

  it('can be cancelled: the source is closed', async () => {
    let closed = false;
    async function* source(): AsyncGenerator<number> {
      try {
        yield* count(1000);
      } finally {
        closed = true;
      }
    }
    const ahead = new ReadAhead(source(), 10, () => 1);
    await ahead.cancel();
    expect(closed).toBe(true);
  });
});
