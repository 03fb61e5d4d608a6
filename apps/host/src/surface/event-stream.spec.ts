import type { ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { ManualClock } from '@alcove/testing';
import { envelope, flag, openEnvelope } from './connect-codec';
import { EventStream } from './event-stream';

const word = { alive: true };

/** An answer that keeps what is written into it. */
class Kept extends Writable {
  readonly said: unknown[] = [];
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.said.push(chunk.equals(envelope(0, word)) ? 'alive' : chunk.readUInt8(0) === flag.end ? 'end' : openEnvelope(chunk));
    done();
  }
  writeHead(): this {
    return this;
  }
}

function begun(ms: number): { clock: ManualClock; kept: Kept; stream: EventStream } {
  const clock = new ManualClock();
  const kept = new Kept();
  const stream = new EventStream(kept as unknown as ServerResponse, clock, new AbortController().signal);
  stream.keepAlive(ms, word);
  return { clock, kept, stream };
}

const alive = ({ kept }: { kept: Kept }): number => kept.said.filter((one) => one === 'alive').length;

/** Lets time pass, and what waits for it go on. */
async function pass({ clock }: { clock: ManualClock }, ms: number): Promise<void> {
  clock.advance(ms);
  await new Promise(setImmediate);
}

it('says nothing before its first message, then a word whenever it was silent for so long', async () => {
  const one = begun(1000);
  await pass(one, 5000);
  expect(one.kept.said).toEqual([]);
  await one.stream.send({ n: 1 });
  for (const expected of [1, 2, 3]) {
    await pass(one, 1000);
    expect(alive(one)).toBe(expected);
  }
});

it('counts the silence from the last message: who has something to say needs no sign of life', async () => {
  const one = begun(1000);
  for (let i = 0; i < 20; i++) {
    await one.stream.send({ n: i });
    await pass(one, 900);
  }
  expect(alive(one)).toBe(0);
  await pass(one, 100);
  expect(alive(one)).toBe(1);
});

it('is silent after its end', async () => {
  const one = begun(1000);
  await one.stream.send({ n: 1 });
  one.stream.end();
  await pass(one, 10_000);
  expect(alive(one)).toBe(0);
  expect(one.kept.said.at(-1)).toBe('end');
});
