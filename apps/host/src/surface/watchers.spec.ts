import { limits, systemClock } from '@alcove/base';
import { Problem, type FileChange, type FileEntry } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import type { RoomStream } from '../rooms/live-guest';
import { Watchers } from './watchers';

const room = { roomId: 'room_00000000000000000000', incarnation: 1 };
const place = { path: '/w', rights: { user: 'root', owner: 'user' }, account: { name: 'user' } };
const options = { recursive: false, includeEntry: true };
/** What a hostile guest may say of one file: all as long as the channel takes it. */
const longest: FileEntry = {
  name: 'f', kind: 'symlink', size: 0, mode: '777', modifiedAt: '2026-01-01T00:00:00.000Z', uid: 0, gid: 0, target: 't'.repeat(limits.files.pathBytes), metadata: { k: 'm'.repeat(limits.files.metadataBytes - 1) },
};

/** A room whose guest tells of `count` changes, and then of nothing more. */
function roomThatTells(count: number) {
  const gone = new AbortController();
  let told = () => undefined as void;
  const all = new Promise<void>((resolve) => (told = resolve));
  const guest = {
    async *watchFiles(_path: string, _options: unknown, signal: AbortSignal): AsyncGenerator<FileChange | null> {
      try {
        yield null;
        for (let i = 0; i < count; i += 1) yield { name: `${i}`, change: 'create' };
        told();
        await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }));
      } finally {
        told();
      }
    },
    statFile: () => Promise.resolve(longest),
  } as unknown as GuestSession;
  let closed = false;
  const stream: RoomStream = {
    guest,
    signal: gone.signal,
    close: () => {
      closed = true;
    },
  };
  // As a LiveGuest does it: whoever has let go of the stream is told of nothing.
  const end = () => closed || gone.abort(new Problem('guest.closed'));
  // Everything that was told is taken in the same turn.
  const taken = () => all.then(() => new Promise(setImmediate));
  return { watchers: new Watchers(() => Promise.resolve(stream), systemClock), taken, end };
}

it('keeps no more bytes of events than it may, however large the entries are', async () => {
  const { watchers, taken } = roomThatTells(limits.files.watchQueue);
  const id = await watchers.create(room, place, options);
  await taken();
  const events = watchers.take(room, id);
  expect(events.length).toBeGreaterThan(0);
  expect(JSON.stringify(events).length).toBeLessThan(2 * limits.files.watchQueueBytes);
  expect(() => watchers.take(room, id)).toThrow('more events than are kept');
});

it('keeps nothing of a room that went, also where the watch had failed before', async () => {
  const { watchers, taken, end } = roomThatTells(2 * limits.files.watchQueue);
  const id = await watchers.create(room, place, { ...options, includeEntry: false });
  await taken();
  end();
  expect(() => watchers.take(room, id)).toThrow(`watcher with id ${id} not found`);
});

it('takes events again after it was asked', async () => {
  const { watchers, taken } = roomThatTells(10);
  const id = await watchers.create(room, place, options);
  await taken();
  expect(watchers.take(room, id)).toHaveLength(10);
  expect(watchers.take(room, id)).toEqual([]);
  watchers.remove(room, id);
  expect(() => watchers.take(room, id)).toThrow('not found');
});
