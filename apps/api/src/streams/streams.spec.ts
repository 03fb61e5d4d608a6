import { PassThrough, Readable } from 'node:stream';
import { limits, systemClock, type Clock } from '@alcove/base';
import type { Principal, RoomEvent } from '@alcove/contracts';
import fc from 'fast-check';
import { execEvents } from './exec-events';
import { followRoom, type RoomHistory } from './follow-room';
import { logEvents } from './log-events';
import { encodeEvent, eventStream, type SseEvent } from './sse';

const principal: Principal = { kind: 'key', keyId: 'key_1', tenantId: 'ten', scopes: ['rooms:read'], ratePerSecond: 1, concurrent: 1 };

/** A room's history in memory. */
class History implements RoomHistory {
  readonly all: RoomEvent[] = [];
  readonly listeners = new Set<() => void>();
  add(to: RoomEvent['to'] = 'running'): void {
    const id = String(this.all.length + 1);
    this.all.push({ id, roomId: 'room_00000000000000000000', at: '2026-01-01T00:00:00.000Z', type: 'state', from: 'running', to, reason: 'x', incarnation: 1, generation: 1, durationMs: 1, resumedFrom: null });
    for (const listener of this.listeners) listener();
  }
  async events(_principal: Principal, _roomId: string, { after, limit }: { after?: string; limit: number }): Promise<RoomEvent[]> {
    return this.all.filter((event) => Number(event.id) > Number(after ?? 0)).slice(0, limit);
  }
  subscribe(_roomId: string, onNews: () => void): () => void {
    this.listeners.add(onNews);
    return () => this.listeners.delete(onNews);
  }
}

async function idsOf(events: AsyncIterable<RoomEvent>): Promise<string[]> {
  const ids: string[] = [];
  for await (const event of events) ids.push(event.id);
  return ids;
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

describe('following a room', () => {
  it('sends every event once, in order, whatever happens while it reads', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(450), fc.nat(450), fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 40 }), async (before, resumeAt, during) => {
        const history = new History();
        for (let i = 0; i < before; i++) history.add();
        const after = Math.min(resumeAt, before);
        const seen: string[] = [];
        const left = [...during];
        setImmediate(() => history.add());
        for await (const event of followRoom(history, principal, 'r', String(after), new AbortController().signal)) {
          seen.push(event.id);
          for (let i = left.pop() ?? 1; i > 0; i--) history.add();
          if (left.length === 0 && history.all.at(-1)?.to !== 'destroyed') history.add('destroyed');
          if (event.to === 'destroyed') break;
        }
        const last = history.all.findIndex((event) => event.to === 'destroyed');
        expect(seen).toEqual(history.all.slice(after, last + 1).map((event) => event.id));
        expect(history.listeners.size).toBe(0);
      }),
      { seed: 20261120, numRuns: 60, examples: [[1, 0, []], [0, 0, [1]]] },
    );
  });

  it('wakes up for news that comes while it waits, and ends with the room', async () => {
    const history = new History();
    history.add();
    const following = idsOf(followRoom(history, principal, 'r', undefined, new AbortController().signal));
    await new Promise((resolve) => setImmediate(resolve));
    history.add();
    await new Promise((resolve) => setImmediate(resolve));
    history.add('destroyed');
    expect(await following).toEqual(['1', '2', '3']);
  });

  it('ends when its listener has gone', async () => {
    const history = new History();
    const gone = new AbortController();
    const following = idsOf(followRoom(history, principal, 'r', undefined, gone.signal));
    await new Promise((resolve) => setImmediate(resolve));
    gone.abort();
    expect(await following).toEqual([]);
    expect(history.listeners.size).toBe(0);
  });
});

describe('server-sent events', () => {
  it('are one line of data each', () => {
    expect(encodeEvent({ event: 'state', id: '7', data: { text: 'a\nb\r\nc' } })).toBe('id: 7\nevent: state\ndata: {"text":"a\\nb\\r\\nc"}\n\n');
  });

  it('begin with a comment, and with another one in each silence', async () => {
    const silences: number[] = [];
    let release: () => void = () => undefined;
    const clock: Clock = {
      ...systemClock,
      sleep: async (ms, signal) => {
        if (silences.push(ms) > 2) await systemClock.sleep(60_000, signal);
      },
    };
    async function* source(): AsyncGenerator<SseEvent> {
      await new Promise<void>((resolve) => (release = resolve));
      yield { event: 'a', data: 1 };
    }
    const stream = eventStream(source(), clock, new AbortController().signal);
    let text = '';
    for await (const part of stream) {
      text += String(part);
      if (text.endsWith(': ping\n\n: ping\n\n')) release();
    }
    expect(text).toBe(': connected\n\n: ping\n\n: ping\n\nevent: a\ndata: 1\n\n');
    expect(silences[0]).toBe(limits.http.ssePingMs);
  });

  it('lets go of their source when the caller goes', async () => {
    let ended = false;
    async function* source(): AsyncGenerator<SseEvent> {
      try {
        for (let i = 0; ; i++) yield { event: 'n', data: i };
      } finally {
        ended = true;
      }
    }
    const stream = eventStream(source(), systemClock, new AbortController().signal);
    for await (const part of stream) if (String(part).includes('data: 3')) break;
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(true);
  });
});

describe('the events of a command', () => {
  const lines = (...events: unknown[]): string => events.map((event) => `${JSON.stringify(event)}\n`).join('');
  const run = (text: string, chunk = 7): Promise<SseEvent[]> => {
    const bytes = Buffer.from(text);
    const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) => bytes.subarray(i * chunk, (i + 1) * chunk));
    return all(execEvents(Readable.from(chunks), new AbortController().signal));
  };
  const exit = { event: 'exit', exitCode: 0, signal: null, timedOut: false, truncated: false };

  it('come through however they are cut', async () => {
    const sent = [{ event: 'start', pid: 9 }, { event: 'stdout', data: Buffer.from('hé').toString('base64') }, exit];
    for (const chunk of [1, 3, 1000]) expect(await run(lines(...sent), chunk)).toEqual(sent.map((data) => ({ event: data.event, data })));
  });

  it.each([
    ['ends inside a line', '{"event":"st', 'guest.closed'],
    ['ends without an exit', lines({ event: 'start', pid: 1 }), 'guest.closed'],
    ['holds what is no event', lines({ event: 'dance' }), 'guest.protocol'],
    ['holds no JSON', 'x\n', 'guest.protocol'],
    ['never ends its line', 'x'.repeat(300_000), 'guest.protocol'],
  ])('say so when the stream %s', async (_, text, code) => {
    expect((await run(text, 65_536)).at(-1)).toEqual({ event: 'error', data: { event: 'error', code } });
  });

  it('say so when the connection breaks', async () => {
    const source = new PassThrough();
    source.write(lines({ event: 'start', pid: 1 }));
    const running = all(execEvents(source, new AbortController().signal));
    setImmediate(() => source.destroy(new Error('reset')));
    expect((await running).map((event) => event.event)).toEqual(['start', 'error']);
  });
});

it('a log keeps characters whole', async () => {
  const bytes = Buffer.from('a→ü');
  const source = Readable.from([bytes.subarray(0, 2), bytes.subarray(2, 5), bytes.subarray(5)]);
  const events = await all(logEvents(source));
  expect(events.map((event) => (event.data as { text: string }).text).join('')).toBe('a→ü');
});
