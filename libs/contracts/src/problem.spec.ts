import { isProblem, Problem } from './problem';
import { problemCodes, type ProblemCode } from './problem-codes';

it('renders a refusal that says what is wrong, and when to come back', () => {
  const body = new Problem('room.busy', { detail: 'It is falling asleep.' }).toBody({ instance: '/v1/rooms/room_1', requestId: 'r' });
  expect(body).toEqual({
    type: 'https://alcove.dev/problems/room.busy', title: problemCodes['room.busy'].title, status: 409, code: 'room.busy', detail: 'It is falling asleep.',
    instance: '/v1/rooms/room_1', requestId: 'r', retryAfterMs: 500,
  });
});

it('keeps the detail of a 5xx private unless the table says otherwise, and the cause always', () => {
  const cause = new Error('password is hunter2');
  expect(JSON.stringify(new Problem('internal', { detail: 'stack', cause }).toBody())).not.toMatch(/stack|hunter2/);
  expect(new Problem('agent.timeout', { detail: '15 minutes' }).toBody().detail).toBe('15 minutes');
});

it('has a status that fits each code', () => {
  for (const code of Object.keys(problemCodes) as ProblemCode[]) {
    expect(code).toMatch(/^[a-z]+(\.[a-z_]+)?$/);
    expect(problemCodes[code].status).toBeGreaterThanOrEqual(400);
    expect(problemCodes[code].status).toBeLessThan(600);
  }
  expect(isProblem(new Problem('internal'), 'room.busy')).toBe(false);
  expect(isProblem(new Error('room.busy'))).toBe(false);
});
