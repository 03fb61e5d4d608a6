import { Problem, roomStates, type EdgeRoute } from '@alcove/contracts';
import fc from 'fast-check';
import type { RoomAddress } from './addresses';
import { judge, refusalOf, type RoomRequest } from './verdict';

const seed = 20_261_125;
const address = (port: number): RoomAddress => ({ kind: 'room', sandboxId: `i${'0'.repeat(20)}`, roomId: `room_${'0'.repeat(20)}`, port });
const route = fc.record({
  state: fc.constantFrom(...roomStates, 'unknown' as const),
  reason: fc.constantFrom(null, 'timeout'),
  target: fc.constantFrom(null, { hostId: 'host-1', hostUrl: 'https://h', incarnation: 1 }),
  surfaceToken: fc.constantFrom(null, 'surface'),
  trafficToken: fc.constantFrom(null, 'traffic'),
  maskRequestHost: fc.constant(null),
  autoResume: fc.boolean(),
});
const request = fc.record({ port: fc.constantFrom(49_983, 3000), pathname: fc.constantFrom('/health', '/process.Process/List'), token: fc.constantFrom(undefined, 'surface', 'wrong'), trafficToken: fc.constantFrom(undefined, 'traffic', 'wrong') });
const asked = ({ port, pathname, token, trafficToken }: { port: number; pathname: string; token: string | undefined; trafficToken: string | undefined }): RoomRequest => ({
  address: address(port),
  surface: port === 49_983 ? { method: 'GET', pathname, query: new URLSearchParams(), token } : null,
  trafficToken,
  trusted: false,
  nowS: 0,
});

it('passes nobody without what opens the room, and wakes for nobody else', () => {
  fc.assert(
    fc.property(route, request, (known: EdgeRoute, about) => {
      const verdict = judge(asked(about), known);
      const shown = about.port === 49_983 ? known.surfaceToken !== null && about.token === known.surfaceToken : known.trafficToken === null || about.trafficToken === known.trafficToken;
      const isRunning = known.state === 'running' && known.target !== null;
      if (verdict.kind === 'pass') {
        expect(isRunning).toBe(true);
        expect(shown || (about.port === 49_983 && about.pathname === '/health' && known.surfaceToken !== null)).toBe(true);
      } else if (verdict.kind === 'wake') {
        expect(shown && known.autoResume && !isRunning).toBe(true);
        expect(['destroyed', 'destroying', 'unknown', 'running']).not.toContain(known.state);
      } else {
        expect([401, 403, 409, 502]).toContain(verdict.reply.status);
        if (isRunning && shown) throw new Error('a running room was refused to whoever may have it');
        if (verdict.reply.status === 502) expect(verdict.reply.body['reason'] ?? null).toBe(known.reason);
      }
    }),
    { seed, numRuns: 2000 },
  );
});

it('says of a refused wake what a caller can do', () => {
  const statusFor = (error: unknown) => refusalOf('i', error).reply.status;
  expect(statusFor(new Problem('room.busy'))).toBe(409);
  expect(statusFor(new Problem('room.gone'))).toBe(502);
  expect(statusFor(new Problem('room.frozen'))).toBe(502);
  expect(statusFor(new Problem('room.held'))).toBe(403);
  expect(statusFor(new Problem('room.failed'))).toBe(503);
  expect(statusFor(new Error('x'))).toBe(503);
});
