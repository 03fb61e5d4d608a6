import { limits, systemClock } from '@alcove/base';
import type { EdgeRoute } from '@alcove/contracts';
import fc from 'fast-check';
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

it('has one question on its way and one behind it, however many ask, and answers nobody with what is older than the request', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom('find', 'ask', 'answer', 'fail', 'time'), { maxLength: 60 }), async (steps) => {
      let begun = 0;
      let now = 0;
      const way: { number: number; settle: (how: 'answer' | 'fail') => void }[] = [];
      const route = (): Promise<EdgeRoute> =>
        new Promise((resolve, reject) => {
          const number = ++begun;
          way.push({ number, settle: (how) => (how === 'answer' ? resolve({ ...asleep, reason: String(number) }) : reject(new Error(String(number)))) });
        });
      const routes = new Routes({ route, wake: route, close: () => undefined }, { ...systemClock, monotonic: () => now });
      const waiting: Promise<unknown>[] = [];
      const finish = async (how: 'answer' | 'fail'): Promise<void> => {
        way.shift()?.settle(how);
        await new Promise((next) => setImmediate(next));
      };
      let asked = 0;
      for (const step of steps) {
        const before = begun;
        if (step === 'time') now += limits.edge.routeMs;
        else if (step === 'answer' || step === 'fail') await finish(step);
        else {
          asked++;
          const isFresh = step === 'ask' ? Promise.resolve(true) : undefined;
          const answer = step === 'ask' ? routes.ask('r').then((known) => ({ route: known, fresh: true })) : routes.find('r');
          waiting.push(answer.then(async (known) => {
            if ((await isFresh) ?? known.fresh) expect(Number(known.route.reason)).toBeGreaterThan(before);
          }, (error: Error) => void (step === 'ask' && expect(Number(error.message)).toBeGreaterThan(before))));
        }
        expect(way.length).toBeLessThan(2);
      }
      while (way.length > 0) await finish('answer');
      await Promise.all(waiting);
      expect(begun).toBeLessThanOrEqual(asked);
      // Nothing is left behind of a room that nobody asks for any more.
      const last = begun;
      void routes.ask('r');
      expect(begun).toBe(last + 1);
    }),
    { seed: 20_261_126, numRuns: 300 },
  );
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
