import { pipeline } from 'node:stream/promises';
import { limits } from '@alcove/base';
import { FileListQuery, FileMakeFolder, FileMove, FilePath, FileReadQuery, FileRemoveQuery, FileWriteQuery, Problem } from '@alcove/contracts';
import type { GuestSession } from '@alcove/runtime';
import { type Exchange, readJson, readQuery, sendJson } from '../http/answer';
import { countedBody, exactBody, quieted } from '../http/body';
import type { Route } from '../http/server';
import type { Rooms } from '../rooms/rooms';
import { roomOf } from './room-params';

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

/** The length is known before the first byte, but for files without one (a size of 0, as in /proc), which are sent in chunks. An answer that falls short of it is cut. */
async function read({ query, response }: Exchange, guest: GuestSession, signal: AbortSignal): Promise<void> {
  const order = readQuery(query, FileReadQuery);
  const file = await guest.readFile(order, signal);
  quieted(file.body);
  const left = Math.max(0, file.size - (order.offset ?? 0));
  const length = Math.min(left, order.length ?? left);
  if (length > limits.http.fileBytes) {
    file.body.destroy();
    throw new Problem('request.too_large', { detail: `at most ${limits.http.fileBytes} bytes at once: ask for a part with offset and length` });
  }
  response.writeHead(200, {
    'content-type': 'application/octet-stream',
    'alcove-file-size': String(file.size),
    ...(/^[0-7]{3,5}$/.test(file.mode) ? { 'alcove-file-mode': file.mode } : {}),
    'alcove-file-modified-at': file.modifiedAt,
    ...(file.size === 0 ? {} : { 'content-length': String(length) }),
  });
  const body = file.size === 0 ? countedBody(file.body, limits.http.fileBytes) : exactBody(file.body, length);
  try {
    await pipeline(body, response, { signal });
  } finally {
    file.body.destroy();
  }
}

async function write({ query, request, response }: Exchange, guest: GuestSession, signal: AbortSignal): Promise<void> {
  const order = readQuery(query, FileWriteQuery);
  if (Number(request.headers['content-length'] ?? 0) > limits.http.fileBytes) throw new Problem('request.too_large');
  sendJson(response, 200, await guest.writeFile(order, countedBody(request, limits.http.fileBytes), signal));
}
