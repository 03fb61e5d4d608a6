import { Readable } from 'node:stream';
import { seededRandom, silentLog, systemClock, type Random } from '@alcove/base';
import { choppedPair, GuestPeer, peerFrame, type PeerService } from '@alcove/testing';
import type { GuestSession } from '../guest-session';
import { openGuestSession } from './session';

/**
 * Many streams at once over a channel that cuts, joins and delays: what is sent arrives, in order, whole, or not at all; whatever ends early ends for both.
 */
const services: Record<string, PeerService> = {
  // Echoes.
  connect: (stream) => {
    stream.onBytes = (bytes) => stream.bytes(Buffer.from(bytes));
    stream.onEnd = () => stream.end();
  },
  // A file of as many bytes as its name says, each the low byte of its place.
  fileRead: (stream, fields) => {
    const size = Number(fields.get('path')?.[0]);
    stream.message({ size, mode: '644', mtimeMs: 0 }).bytes(pattern(size)).end();
  },
  fileWrite: (stream) => {
    let size = 0;
    let right = true;
    stream.onBytes = (bytes) => {
      right &&= bytes.equals(pattern(size + bytes.length).subarray(size));
      size += bytes.length;
    };
    stream.onEnd = () => (right ? stream.message({ size }).end() : stream.reset('io', 'the bytes are not as they were'));
  },
  exec: (stream) => {
    stream.message({ pid: 1 }).bytes(pattern(100_000));
    stream.bytes(Buffer.alloc(0), 1).message({ exit: 0 }).end();
  },
};

const whole = Buffer.from(Array.from({ length: 1 << 19 }, (_, i) => (i ^ (i >> 8)) & 0xff));
const pattern = (bytes: number) => whole.subarray(0, bytes);

function pieces(bytes: Buffer, random: Random): Buffer[] {
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + random.below(random.below(3) === 0 ? 100_000 : 500);
    out.push(bytes.subarray(at, end));
    at = end;
  }
  return out;
}

async function oneTask(session: GuestSession, random: Random): Promise<string> {
  const size = random.below(1 << random.below(19));
  const stop = new AbortController();
  const never = stop.signal;
  switch (random.below(5)) {
    case 0: {
      const { body } = await session.readFile({ path: String(size) }, never);
      return Buffer.concat((await body.toArray()) as Buffer[]).equals(pattern(size)) ? 'ok' : 'wrong bytes';
    }
    case 1: {
      const written = await session.writeFile({ path: 'x', makeParents: true }, Readable.from(pieces(pattern(size), random)), never);
      return written.size === size ? 'ok' : 'wrong size';
    }
    case 2: {
      const socket = await session.connect(80, 0, never);
      Readable.from(pieces(pattern(size), random)).pipe(socket);
      return Buffer.concat((await socket.toArray()) as Buffer[]).equals(pattern(size)) ? 'ok' : 'wrong echo';
    }
    case 3: {
      let at = 0;
      for await (const event of session.exec({ command: ['x'], timeoutMs: 60_000, outputBytes: 1 << 20 }, never)) {
        if (event.event !== 'stdout') continue;
        const bytes = Buffer.from(event.data, 'base64');
        if (!bytes.equals(pattern(at + bytes.length).subarray(at))) return 'wrong output';
        at += bytes.length;
        if (random.below(3) === 0) return 'ok';
      }
      return at === 100_000 ? 'ok' : 'short output';
    }
    default: {
      const socket = await session.connect(80, 0, never);
      const ended = socket.toArray().catch(() => undefined);
      socket.write(pattern(size));
      await session.ping(60_000);
      stop.abort(new Error('enough'));
      await ended;
      return socket.errored === null ? 'not ended' : 'ok';
    }
  }
}

it.each([[20250801], [20250802], [20250803]])('traffic of seed %i arrives', async (seed) => {
  const random = seededRandom(seed);
  const [host, guest] = choppedPair(seededRandom(seed + 1), 16_384);
  const peer = new GuestPeer(guest, services);
  const session = await openGuestSession(host, { clock: systemClock, log: silentLog });
  for (let round = 0; round < 3; round++) {
    const outcomes = await Promise.all(Array.from({ length: 25 }, () => oneTask(session, seededRandom(random.below(1 << 30)))));
    expect(outcomes.filter((outcome) => outcome !== 'ok')).toEqual([]);
  }
  expect(new Set(peer.frames.filter((f) => f.type === peerFrame.open).map((f) => f.stream)).size).toBe(75);
  session.close();
  expect(await session.closed).toMatchObject({ code: 'guest.closed' });
});
