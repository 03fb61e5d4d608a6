import { duplexPair } from 'node:stream';
import { limits, seededRandom, silentLog } from '@alcove/base';
import { GuestPeer, ManualClock } from '@alcove/testing';
import fc from 'fast-check';
import { openGuestSession } from './session';
import { encodeSync, SyncScanner, syncBytes } from './sync';

describe('the scanner', () => {
  const session = Buffer.alloc(16, 7);
  const other = Buffer.alloc(16, 8);

  it('finds its answer behind anything, however it is cut', () => {
    const noise = fc.oneof(fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)), fc.constant(encodeSync(other)), fc.constant(Buffer.alloc(50, 0xff)), fc.constant(encodeSync(session).subarray(0, 30)));
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 5 }), fc.uint8Array({ maxLength: 50 }), fc.integer(), (before, after, seed) => {
        const random = seededRandom(seed);
        const bytes = Buffer.concat([...before, encodeSync(session), Buffer.from(after)]);
        const end = bytes.length - after.length;
        const scanner = new SyncScanner(session);
        for (let at = 0; at < bytes.length; ) {
          const next = Math.min(bytes.length, at + 1 + random.below(60));
          const found = scanner.push(bytes.subarray(at, next));
          at = next;
          if (!found) continue;
          expect([found.version, found.rest]).toEqual([1, bytes.subarray(end, at)]);
          return;
        }
        throw new Error('not found');
      }),
      { seed: 20250601, numRuns: 300 },
    );
  });

  it('gives up after 1 MiB', () => {
    const scanner = new SyncScanner(session);
    const chunk = Buffer.alloc(65_536, 0xff);
    for (let i = 0; i < 16; i++) scanner.push(chunk);
    expect(() => scanner.push(chunk)).toThrow(expect.objectContaining({ code: 'guest.protocol' }) as Error);
    expect(limits.channel.syncScanBytes).toBe(16 * chunk.length);
  });
});

describe('synchronising', () => {
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  function open(deafTo: number, version = 1) {
    const [host, far] = duplexPair();
    const clock = new ManualClock();
    const sent: Buffer[] = [];
    far.on('data', (chunk: Buffer) => sent.push(chunk));
    const peer = new GuestPeer(far, {}, { deafTo, version });
    const giveUp = new AbortController();
    const opening = openGuestSession(host, { clock, log: silentLog, signal: giveUp.signal });
    return { host, clock, peer, opening, giveUp, sent };
  }

  it('takes one sync with a guest that answers', async () => {
    const { opening, peer, sent, clock } = open(0);
    const session = await opening;
    expect([peer.syncs, Buffer.concat(sent).length, clock.sleepers]).toEqual([1, syncBytes, 0]);
    session.close();
  });

  it('sends filler and another session after a second without an answer', async () => {
    const { opening, clock, peer, sent } = open(2);
    for (let i = 0; i < 2; i++) {
      await settle();
      clock.advance(limits.channel.syncTimeoutMs);
    }
    const session = await opening;
    expect(peer.syncs).toBe(3);
    const all = Buffer.concat(sent);
    expect(all.length).toBe(3 * syncBytes + 2 * 65_552);
    const sessions = [0, syncBytes + 65_552, 2 * (syncBytes + 65_552)].map((at) => all.toString('hex', at + 16, at + 32));
    expect(new Set(sessions).size).toBe(3);
    session.close();
  });

  it('gives up on a guest that never answers', async () => {
    const { opening, clock, host } = open(100);
    const refused = expect(opening).rejects.toMatchObject({ code: 'guest.protocol' });
    for (let i = 0; i < limits.channel.syncAttempts; i++) {
      await settle();
      clock.advance(limits.channel.syncTimeoutMs);
    }
    await refused;
    expect([host.destroyed, clock.sleepers]).toEqual([true, 0]);
  });

  it('gives up when its signal says so', async () => {
    const { opening, giveUp, host, clock } = open(100);
    giveUp.abort(new Error('enough'));
    await expect(opening).rejects.toMatchObject({ code: 'guest.closed' });
    expect([host.destroyed, clock.sleepers]).toEqual([true, 0]);
  });

  it('refuses another version', async () => {
    const { opening } = open(0, 2);
    await expect(opening).rejects.toMatchObject({ code: 'guest.protocol' });
  });

  it('gives up on a guest that only babbles', async () => {
    const { opening, peer } = open(100);
    const refused = expect(opening).rejects.toMatchObject({ code: 'guest.protocol' });
    for (let i = 0; i < 100; i++) {
      peer.send(Buffer.alloc(65_536, i));
      await settle();
    }
    await refused;
  });

  it('fails when the channel ends', async () => {
    const { opening, peer } = open(100);
    peer.channel.end();
    await expect(opening).rejects.toMatchObject({ code: 'guest.closed' });
  });
});
