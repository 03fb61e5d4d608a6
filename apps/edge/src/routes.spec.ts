import { limits, systemClock } from '@alcove/base';
import type { EdgeRoute } from '@alcove/contracts';
import { Routes } from './routes';

const running: EdgeRoute = { state: 'running', reason: null, target: { hostId: 'h', hostUrl: 'https://h', incarnation: 1 }, surfaceToken: 't', trafficToken: null, maskRequestHost: null, autoResume: true };
const asleep: EdgeRoute = { ...running, state: 'hibernated', target: null };

function world() {
  const state = { now: 0, route: running, asked: 0, woken: 0, answer: [] as (() => void)[], held: false };
  const answer = async (): Promise<EdgeRoute> => {
    const { route } = state;
    if (state.held) await new Promise<void>((go) => state.answer.push(go));
    return route;
  };
  const controlPlane = {
    route: () => (state.asked++, answer()),
    wake: () => (state.woken++, answer()),
    close: () => undefined,
  };
  return { state, routes: new Routes(controlPlane, { ...systemClock, monotonic: () => state.now }) };
}

it('keeps where a room runs for a moment, and not where it sleeps', async () => {
  const { state, routes } = world();
  expect(await routes.find('r')).toEqual({ route: running, fresh: true });
  expect(await routes.find('r')).toEqual({ route: running, fresh: false });
  expect(state.asked).toBe(1);
  state.now = limits.edge.routeMs;
  state.route = asleep;
  await routes.find('r');
  await routes.find('r');
  expect(state.asked).toBe(3);
});

it('asks once for many, and says to those who came later that the answer may be older than they', async () => {
  const { state, routes } = world();
  state.held = true;
  state.route = asleep;
  const both = [routes.find('r'), routes.find('r')];
  state.route = running;
  for (const go of state.answer) go();
  expect(await Promise.all(both)).toEqual([{ route: asleep, fresh: true }, { route: asleep, fresh: false }]);
  expect(state.asked).toBe(1);
});

it('wakes once for many, and again after a failure', async () => {
  const { state, routes } = world();
  await Promise.all([routes.wake('r'), routes.wake('r'), routes.wake('r')]);
  expect(state.woken).toBe(1);
  await routes.wake('r');
  expect(state.woken).toBe(2);
});

it('forgets the oldest when there are too many', async () => {
  const { routes } = world();
  for (let n = 0; n < limits.edge.routesKept + 10; n++) await routes.find(`r${n}`);
  expect(routes.size).toBe(limits.edge.routesKept);
});
