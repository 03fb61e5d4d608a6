import { posix } from 'node:path';
import { limits } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import { z } from 'zod';
import { check } from '../http/answer';
import { watchFolder } from '../services/watch';
import { placeOf, type Place } from './accounts';
import type { Call, StreamCall, UnaryCall } from './call';
import { type EntryInfo, entryInfo, eventType } from './entries';
import { SurfaceError } from './surface-error';

// The JSON form of filesystem.proto's messages; both spellings of a name are taken, as proto3 wants.
const text = z.string().nullish().transform((value) => value ?? '');
const flagged = z.boolean().nullish().transform((value) => value ?? false);
const OfPath = z.object({ path: text });
const Move = z.object({ source: text, destination: text });
const ListDir = z.object({ path: text, depth: z.int().min(0).max(2 ** 32 - 1).nullish() });
const Watch = z
  .object({ path: text, recursive: flagged, includeEntry: flagged, include_entry: flagged })
  .transform(({ path, recursive, includeEntry, include_entry }) => ({ path, recursive, includeEntry: includeEntry || include_entry }));
const OfWatcher = z.object({ watcherId: text, watcher_id: text }).transform(({ watcherId, watcher_id }) => watcherId || watcher_id);

export const filesystemUnary: Record<string, UnaryCall> = {
  async Stat(call, message) {
    const place = await placed(call, check(OfPath, message).path);
    return { entry: await entryAt(call, place) };
  },
  async MakeDir(call, message) {
    const place = await placed(call, check(OfPath, message).path);
    try {
      await call.guest.makeFolder(place.path, place.rights, call.signal);
    } catch (error) {
      if (!isProblem(error, 'file.exists') && !isProblem(error, 'file.kind')) throw error;
      const there = await call.guest.statFile(place.path, call.signal, { ...place.rights, follow: true }).catch(() => null);
      if (there?.kind === 'directory') throw new SurfaceError('already_exists', `directory already exists: ${place.path}`);
      throw new SurfaceError('invalid_argument', `path already exists but it is not a directory: ${place.path}`);
    }
    return { entry: await entryAt(call, place) };
  },
  async Move(call, message) {
    const { source, destination } = check(Move, message);
    const from = await placed(call, source);
    const to = await placed(call, destination);
    await call.guest.moveFile(from.path, to.path, call.signal, { ...to.rights, makeParents: true });
    return { entry: await entryAt(call, to) };
  },
  async ListDir(call, message) {
    const { path, depth } = check(ListDir, message);
    const place = await placed(call, path);
    const look = { ...place.rights, follow: true, depth: Math.min(depth || 1, limits.files.listDepth) };
    const { entries, truncated } = await call.guest.listFiles({ path: place.path, limit: limits.files.listEntries }, call.signal, look);
    // E2B's answer has no word for "and so on": half a list would pass for a whole one.
    if (truncated) throw new SurfaceError('resource_exhausted', `more than ${limits.files.listEntries} entries: list a part of them`);
    return { entries: entries.map((entry) => entryInfo(entry, posix.join(place.path, entry.name))) };
  },
  async Remove(call, message) {
    const place = await placed(call, check(OfPath, message).path);
    await call.guest.removeFile(place.path, true, call.signal, place.rights).catch((error: unknown) => {
      if (!isProblem(error, 'file.not_found')) throw error;
    });
    return {};
  },
  async CreateWatcher(call, message) {
    const { path, ...options } = check(Watch, message);
    const place = await placed(call, path);
    return { watcherId: await call.parts.watchers.create(call.room, place, options) };
  },
  async GetWatcherEvents(call, message) {
    return { events: call.parts.watchers.take(call.room, check(OfWatcher, message)) };
  },
  async RemoveWatcher(call, message) {
    call.parts.watchers.remove(call.room, check(OfWatcher, message));
    return {};
  },
};

export const filesystemStreams: Record<string, StreamCall> = {
  WatchDir: {
    keepAlive: { keepalive: {} },
    run: async (call, message, events) => {
      const { path, recursive, includeEntry } = check(Watch, message);
      const place = await placed(call, path);
      const changes = await watchFolder(call.guest, place.path, { ...place.rights, recursive }, call.signal);
      await events.send({ start: {} });
      for await (const { name, change } of changes) {
        const entry = includeEntry ? await entryNamed(call, place, name, change) : undefined;
        await events.send({ filesystem: { name, type: eventType(change), ...(entry ? { entry } : {}) } });
      }
    },
  },
};

function placed(call: Call, path: string): Promise<Place> {
  return placeOf(call.guest, call.user, path, call.signal);
}

async function entryAt({ guest, signal }: Pick<Call, 'guest' | 'signal'>, { path, rights }: Place): Promise<EntryInfo> {
  return entryInfo(await guest.statFile(path, signal, { ...rights, follow: true }), path);
}

/** What is there now under a name that a change told of; undefined for one that went. */
export async function entryNamed(call: Pick<Call, 'guest' | 'signal'>, folder: Place, name: string, change: string): Promise<EntryInfo | undefined> {
  if (change === 'remove' || change === 'rename') return undefined;
  return entryAt(call, { ...folder, path: posix.join(folder.path, name) }).catch((error: unknown) => {
    if (call.signal.aborted) throw error;
    return undefined;
  });
}
