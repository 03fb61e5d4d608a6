import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { isProblem } from '@alcove/contracts';
import { openFile, type OpenFile } from '../services/files';
import { placeOf, type Place, userInAddress } from './accounts';
import type { Call } from './call';
import { SurfaceError } from './surface-error';

/** `GET /files?path&username`: a file's bytes, or a part of them by `Range`; as gzip for a caller who asks for nothing else. */
export async function download(call: Call): Promise<void> {
  const { request, response, query } = call.exchange;
  const place = await placeOf(call.guest, userInAddress(query), query.get('path') ?? '', call.signal);
  const encoding = encodingOf(request.headers['accept-encoding']);
  if (encoding === null) throw new SurfaceError('invalid_argument', 'no acceptable encoding: identity and gzip are to be had', 406);
  const range = request.headers.range === undefined ? null : await partOf(call, place, request.headers.range);
  const file = await openPart(call, place, range);
  try {
    response.setHeader('content-type', 'application/octet-stream');
    response.setHeader('content-disposition', disposition(place.path));
    response.setHeader('vary', 'accept-encoding');
    response.setHeader('last-modified', new Date(file.modifiedAt).toUTCString());
    response.setHeader('accept-ranges', 'bytes');
    if (range) response.setHeader('content-range', `bytes ${range.from}-${range.from + range.length - 1}/${range.size}`);
    await send(call, file, range ? 'identity' : encoding, range ? 206 : 200);
  } finally {
    file.close();
  }
}

async function send({ exchange: { response }, signal }: Call, file: OpenFile, encoding: 'identity' | 'gzip', status: number): Promise<void> {
  // Of a file without a length it is known only now whether it is empty; callers look for a length of 0.
  const body = file.length === null ? await unlessEmpty(file.body) : file.body;
  if (body === null) {
    response.writeHead(status, { 'content-length': '0' }).end();
  } else if (encoding === 'gzip') {
    response.writeHead(status, { 'content-encoding': 'gzip' });
    await pipeline(body, createGzip({ level: constants.Z_BEST_SPEED }), response, { signal });
  } else {
    response.writeHead(status, file.length === null ? {} : { 'content-length': String(file.length) });
    await pipeline(body, response, { signal });
  }
}

async function unlessEmpty(body: Readable): Promise<Readable | null> {
  const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const first = await chunks.next();
  if (first.done) return null;
  return Readable.from(
    (async function* () {
      for (let next: IteratorResult<Buffer> = first; !next.done; next = await chunks.next()) yield next.value;
    })(),
    { objectMode: false },
  );
}

interface Part {
  from: number;
  length: number;
  size: number;
}

async function openPart({ guest, signal }: Call, place: Place, part: Part | null): Promise<OpenFile> {
  try {
    return await openFile(guest, { path: place.path, ...(part ? { offset: part.from, length: part.length } : {}) }, signal, place.rights);
  } catch (error) {
    throw inWords(error, place.path);
  }
}

async function partOf({ guest, signal }: Call, place: Place, header: string): Promise<Part | null> {
  const { size, kind } = await guest.statFile(place.path, signal, { ...place.rights, follow: true }).catch((error: unknown) => {
    throw inWords(error, place.path);
  });
  if (kind === 'directory') throw new SurfaceError('invalid_argument', `path '${place.path}' is a directory`);
  const range = rangeOf(header, size);
  if (range === 'unsatisfiable') throw new SurfaceError('out_of_range', `that range is outside of the file's ${size} bytes`, 416);
  return range === 'whole' ? null : { ...range, size };
}

function inWords(error: unknown, path: string): unknown {
  if (isProblem(error, 'file.not_found')) return new SurfaceError('not_found', `path '${path}' does not exist`);
  if (isProblem(error, 'file.kind')) return new SurfaceError('invalid_argument', `path '${path}' is a directory`);
  return error;
}

/** One range of bytes (RFC 9110, 14.2). More than one, another unit and nonsense are passed over: the whole file answers them too. */
export function rangeOf(header: string, size: number): { from: number; length: number } | 'whole' | 'unsatisfiable' {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim());
  if (!match || size === 0) return 'whole';
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return 'whole';
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? 'unsatisfiable' : { from: size - length, length };
  }
  const from = Number(first);
  const to = last === '' ? size - 1 : Math.min(Number(last), size - 1);
  if (last !== '' && Number(last) < from) return 'whole';
  return from >= size ? 'unsatisfiable' : { from, length: to - from + 1 };
}

/** Compressing costs more than the way from host to caller does: it is done for those who ask for gzip and nothing else. Null: none of ours is taken. */
export function encodingOf(header: string | string[] | undefined): 'identity' | 'gzip' | null {
  const asked = new Map<string, number>();
  for (const item of String(header ?? '').toLowerCase().split(',').slice(0, 32)) {
    const [coding = '', ...params] = item.split(';').map((part) => part.trim());
    const q = params.find((param) => param.startsWith('q='))?.slice(2);
    if (coding !== '') asked.set(coding, q === undefined ? 1 : Number(q) || 0);
  }
  const others = asked.get('*');
  const gzip = (asked.get('gzip') ?? others ?? 0) > 0;
  const identity = (asked.get('identity') ?? others ?? 1) > 0;
  const wanted = [...asked].filter(([, q]) => q > 0).map(([coding]) => coding);
  if (wanted.length === 1 && wanted[0] === 'gzip') return 'gzip';
  if (identity) return 'identity';
  return gzip ? 'gzip' : null;
}

function disposition(path: string): string {
  const name = encodeURIComponent(posix.basename(path).toWellFormed()).replace(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
  return `inline; filename*=utf-8''${name}`;
}
