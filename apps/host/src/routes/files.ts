import { pipeline } from 'node:stream/promises';
import { limits } from '@alcove/base';
import { type FileChange, FileListQuery, FileMakeFolder, FileMove, FilePath, FileReadQuery, FileRemoveQuery, FileWriteQuery, Problem } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import { z } from 'zod';
import { type Exchange, readJson, readQuery, sendJson } from '../http/answer';
import { sendLines } from '../http/event-lines';
import type { Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { openFile, storeFile } from '../services/files';
import { watchFolder } from '../services/watch';
import { roomOf } from './room-params';

const WatchQuery = z.strictObject({ ...FilePath.shape, recursive: z.stringbool().default(false) });

const base = '/rooms/:roomId/incarnations/:n/files';

/** Files of a running room. Reads and writes are streams of up to `limits.http.fileBytes`; everything that the guest says of a length is checked. */
export function fileRoutes(rooms: Rooms): Route[] {
  const withGuest = (work: (exchange: Exchange, guest: GuestSession, signal: AbortSignal) => Promise<void>) => async (exchange: Exchange) => {
    const stream = await rooms.openStream(roomOf(exchange));
    try {
      await work(exchange, stream.guest, AbortSignal.any([exchange.gone, stream.signal]));
    } finally {
      stream.close();
    }
  };
  return [
    { method: 'GET', path: base, handle: withGuest(read) },
    { method: 'PUT', path: base, handle: withGuest(write) },
    {
      method: 'DELETE',
      path: base,
      handle: withGuest(async ({ query, response }, guest, signal) => {
        const { path, recursive } = readQuery(query, FileRemoveQuery);
        await guest.removeFile(path, recursive, signal);
        response.writeHead(204).end();
      }),
    },
    {
      method: 'GET',
      path: `${base}/list`,
      handle: withGuest(async ({ query, response }, guest, signal) => sendJson(response, 200, await guest.listFiles(readQuery(query, FileListQuery), signal))),
    },
    {
      method: 'GET',
      path: `${base}/stat`,
      handle: withGuest(async ({ query, response }, guest, signal) => sendJson(response, 200, await guest.statFile(readQuery(query, FilePath).path, signal))),
    },
    watchRoute(rooms),
    {
      method: 'POST',
      path: `${base}/move`,
      handle: withGuest(async ({ request, response }, guest, signal) => {
        const { from, to } = await readJson(request, FileMove);
        await guest.moveFile(from, to, signal);
        response.writeHead(204).end();
      }),
    },
    {
      method: 'POST',
      path: `${base}/folder`,
      handle: withGuest(async ({ request, response }, guest, signal) => {
        const { path, ...options } = await readJson(request, FileMakeFolder);
        await guest.makeFolder(path, options, signal);
        response.writeHead(204).end();
      }),
    },
  ];
}

/** `GET files/watch`: what changes in a folder, as lines of JSON. */
function watchRoute(rooms: Rooms): Route {
  return {
    method: 'GET',
    path: `${base}/watch`,
    handle: async (exchange) => {
      const { path, recursive } = readQuery(exchange.query, WatchQuery);
      const stream = await rooms.openStream(roomOf(exchange));
      try {
        await sendLines(exchange, (signal) => watched(stream.guest, path, recursive, signal), stream.signal);
      } finally {
        stream.close();
      }
    },
  };
}

/** The first line says that the watch stands: what happens after it was read is told. */
async function* watched(guest: GuestSession, path: string, recursive: boolean, signal: AbortSignal): AsyncGenerator<FileChange | { watching: true }, void, void> {
  const changes = await watchFolder(guest, path, { recursive }, signal);
  yield { watching: true };
  yield* changes;
}

/** The length is known before the first byte, but for files without one (a size of 0, as in /proc), which are sent in chunks. An answer that falls short of it is cut. */
async function read({ query, response }: Exchange, guest: GuestSession, signal: AbortSignal): Promise<void> {
  const file = await openFile(guest, readQuery(query, FileReadQuery), signal);
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'alcove-file-size': String(file.size),
    ...(/^[0-7]{3,5}$/.test(file.mode) ? { 'alcove-file-mode': file.mode } : {}),
    'alcove-file-modified-at': file.modifiedAt,
    ...(file.length === null ? {} : { 'content-length': String(file.length) }),
  });
  try {
    await pipeline(file.body, response, { signal });
  } finally {
    file.close();
  }
}

async function write({ query, request, response }: Exchange, guest: GuestSession, signal: AbortSignal): Promise<void> {
  const order = readQuery(query, FileWriteQuery);
  if (Number(request.headers['content-length'] ?? 0) > limits.http.fileBytes) throw new Problem('request.too_large');
  sendJson(response, 200, await storeFile(guest, order, request, signal));
}
