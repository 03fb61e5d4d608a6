import { type Clock, limits, newId, type Random, systemRandom } from '@alcove/base';
import type { FileChange } from '@alcove/contracts';
import type { RoomStream } from '../rooms/live-guest';
import { watchFolder } from '../services/watch';
import type { Place } from './accounts';
import { eventType, type EntryInfo } from './entries';
import { entryNamed } from './filesystem-service';
import { SurfaceError } from './surface-error';

interface RoomName {
  roomId: string;
  incarnation: number;
}
interface FilesystemEvent {
  name: string;
  type: string;
  entry?: EntryInfo;
}
interface Watcher {
  stream: RoomStream;
  stop: AbortController;
  askedAt: number;
  events: FilesystemEvent[];
  /** Of the events, as JSON: an entry holds names, a target and metadata that the guest chose. */
  bytes: number;
  failure: unknown;
}

const watchersPerRoom = 32;

/**
 * Watches whose events are fetched, for callers that do not hold a stream open. Kept here, in memory, as long as the incarnation runs here; of too many in one room, the one
 * that was not asked for the longest goes.
 */
export class Watchers {
  readonly #rooms = new Map<string, Map<string, Watcher>>();

  constructor(
    private readonly open: (room: RoomName) => Promise<RoomStream>,
    private readonly clock: Clock,
    private readonly random: Random = systemRandom,
  ) {}

  /** Resolves when the watch stands. */
  async create(room: RoomName, place: Place, options: { recursive: boolean; includeEntry: boolean }): Promise<string> {
    const stream = await this.open(room);
    const stop = new AbortController();
    const signal = AbortSignal.any([stream.signal, stop.signal]);
    try {
      const changes = await watchFolder(stream.guest, place.path, { ...place.rights, recursive: options.recursive }, signal);
      const id = newId('watcher', this.random);
      const watcher: Watcher = { stream, stop, askedAt: this.clock.monotonic(), events: [], bytes: 0, failure: undefined };
      this.#add(room, id, watcher);
      void this.#gather(room, id, watcher, changes, (name, change) => (options.includeEntry ? entryNamed({ guest: stream.guest, signal }, place, name, change) : Promise.resolve(undefined)));
      return id;
    } catch (error) {
      stream.close();
      throw error;
    }
  }
  /** What happened since the last time. Throws `not_found`, and once what ended the watch. */
  take(room: RoomName, id: string): FilesystemEvent[] {
    const watcher = this.#of(room, id);
    watcher.askedAt = this.clock.monotonic();
    if (watcher.events.length === 0 && watcher.failure !== undefined) {
      this.#drop(room, id);
      throw watcher.failure;
    }
    watcher.bytes = 0;
    return watcher.events.splice(0);
  }
  remove(room: RoomName, id: string): void {
    this.#of(room, id);
    this.#drop(room, id);
  }

  async #gather(room: RoomName, id: string, watcher: Watcher, changes: AsyncIterable<FileChange>, entryOf: (name: string, change: string) => Promise<EntryInfo | undefined>): Promise<void> {
    try {
      for await (const { name, change } of changes) {
        const entry = await entryOf(name, change);
        keep(watcher, { name, type: eventType(change), ...(entry ? { entry } : {}) });
      }
    } catch (error) {
      watcher.failure = error;
    }
    // With the room goes all that was kept for it, also for a watch that failed before: its stream stays open to be told.
    const drop = () => this.#drop(room, id);
    if (watcher.stream.signal.aborted) drop();
    else watcher.stream.signal.addEventListener('abort', drop, { once: true });
  }
  #add(room: RoomName, id: string, watcher: Watcher): void {
    const key = keyOf(room);
    const watchers = this.#rooms.get(key) ?? new Map<string, Watcher>();
    this.#rooms.set(key, watchers);
    watchers.set(id, watcher);
    if (watchers.size <= watchersPerRoom) return;
    const [oldest] = [...watchers].sort(([, a], [, b]) => a.askedAt - b.askedAt)[0] ?? [];
    if (oldest !== undefined) this.#drop(room, oldest);
  }
  #of(room: RoomName, id: string): Watcher {
    const watcher = this.#rooms.get(keyOf(room))?.get(id);
    if (!watcher) throw new SurfaceError('not_found', `watcher with id ${id.slice(0, 64)} not found`);
    return watcher;
  }
  #drop(room: RoomName, id: string): void {
    const watchers = this.#rooms.get(keyOf(room));
    const watcher = watchers?.get(id);
    if (!watchers || !watcher) return;
    watchers.delete(id);
    if (watchers.size === 0) this.#rooms.delete(keyOf(room));
    watcher.stop.abort(new Error('the watcher was removed'));
    watcher.stream.close();
  }
}

function keep(watcher: Watcher, event: FilesystemEvent): void {
  const bytes = Buffer.byteLength(JSON.stringify(event));
  if (watcher.events.length >= limits.files.watchQueue || watcher.bytes + bytes > limits.files.watchQueueBytes) {
    throw new SurfaceError('resource_exhausted', 'more events than are kept for a watcher that is not asked');
  }
  watcher.bytes += bytes;
  watcher.events.push(event);
}

function keyOf({ roomId, incarnation }: RoomName): string {
  return `${roomId} ${incarnation}`;
}
