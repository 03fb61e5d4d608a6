import { duplexPair } from 'node:stream';
import { silentLog } from '@alcove/base';
import { GuestPeer, ManualClock, type PeerService } from '@alcove/testing';
import type { GuestSession } from '../guest-session';
import { openGuestSession } from './session';

const never = new AbortController().signal;
async function withPeer(connect: PeerService, service = 'connect'): Promise<GuestSession> {
  const [host, guest] = duplexPair();
  void new GuestPeer(guest, { [service]: connect });
  return openGuestSession(host, { clock: new ManualClock(), log: silentLog });
}

describe('a connection that says hello', () => {
  it('resolves when somebody took it, and then carries bytes', async () => {
    const asked: Map<string, string[]>[] = [];
    const session = await withPeer((stream, fields) => {
      asked.push(fields);
      stream.onEnd = () => stream.bytes(Buffer.from('bye')).end();
      stream.message({});
    });
    const socket = await session.connect(80, 5, never, { hello: true });
    expect(Object.fromEntries(asked[0] ?? [])).toEqual({ svc: ['connect'], port: ['80'], waitMs: ['5'], hello: ['1'] });
    socket.end('x');
    expect(Buffer.concat((await socket.toArray()) as Buffer[]).toString()).toBe('bye');
  });
  it('rejects when nobody listens, and from a guest that is too old for it', async () => {
    const refused = await withPeer((stream) => void stream.reset('refused', 'nobody'));
    await expect(refused.connect(80, 0, never, { hello: true })).rejects.toMatchObject({ code: 'agent.unreachable' });
    const old = await withPeer((stream) => void stream.reset('invalid', 'hello'));
    await expect(old.connect(80, 0, never, { hello: true })).rejects.toMatchObject({ code: 'request.invalid' });
  });
  it('rejects with the reason of its signal', async () => {
    const session = await withPeer(() => undefined);
    const stop = new AbortController();
    const connecting = session.connect(80, 0, stop.signal, { hello: true });
    stop.abort(new Error('stopped'));
    await expect(connecting).rejects.toThrow('stopped');
  });
  it.each<[string, PeerService]>([
    ['says it twice', (stream) => void stream.message({}).message({})],
    ['ends without it', (stream) => void stream.end()],
  ])('breaks the channel when the guest %s', async (_what, service) => {
    const session = await withPeer(service);
    const socket = session.connect(80, 0, never, { hello: true });
    expect(await session.closed).toMatchObject({ code: 'guest.protocol' });
    await socket.catch(() => undefined);
  });
});

describe('a door', () => {
  const names = ['memory.alcove.internal', 'other.alcove.internal'];
  it('waits for a program of the room, and then carries its bytes', async () => {
    let knock = () => {};
    const asked: Map<string, string[]>[] = [];
    const session = await withPeer((stream, fields) => {
      asked.push(fields);
      knock = () => void stream.message({}).bytes(Buffer.from('ask'));
      stream.onEnd = () => stream.end();
      stream.onBytes = (bytes) => stream.bytes(bytes);
    }, 'door');
    const opening = session.openDoor(names, never);
    expect(await Promise.race([opening, new Promise((later) => setImmediate(later, 'waits'))])).toBe('waits');
    knock();
    const socket = await opening;
    socket.end(' and answer');
    expect(Buffer.concat((await socket.toArray()) as Buffer[]).toString()).toBe('ask and answer');
    expect(Object.fromEntries(asked[0] ?? [])).toEqual({ svc: ['door'], name: names });
  });
  it('is not there in a guest that is too old, which goes on as it was', async () => {
    const session = await withPeer(() => undefined);
    await expect(session.openDoor(names, never)).rejects.toMatchObject({ code: 'guest.unsupported', status: 501 });
    await expect(Promise.race([session.closed, new Promise((later) => setImmediate(later, 'open'))])).resolves.toBe('open');
  });
  it('is at its limit when a program has taken the port', async () => {
    const session = await withPeer((stream) => void stream.reset('busy', 'taken'), 'door');
    await expect(session.openDoor(names, never)).rejects.toMatchObject({ code: 'guest.limit' });
  });
  it('is given up with its signal', async () => {
    const session = await withPeer(() => undefined, 'door');
    const stop = new AbortController();
    const opening = session.openDoor(names, stop.signal);
    stop.abort(new Error('stopped'));
    await expect(opening).rejects.toThrow('stopped');
    await expect(session.openDoor(names, stop.signal)).rejects.toThrow('stopped');
  });
});
