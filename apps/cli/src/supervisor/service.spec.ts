import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, type Clock } from '@alcove/base';
import type { ServicePlan } from './plan';
import { backOffMs, Service } from './service';

const hastyClock: Clock = { ...systemClock, sleep: (_ms, signal) => systemClock.sleep(0, signal) };

describe('a supervised process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-service-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  let changed: () => void = () => undefined;
  const service = (script: string): Service => {
    const plan: ServicePlan = { name: 'worker', command: 'sh', args: ['-c', script], env: { PATH: '/usr/bin:/bin' }, stopSignal: 'SIGTERM' };
    return new Service(plan, join(folder, 'worker.log'), hastyClock, () => changed());
  };
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      changed = () => condition() && resolve();
      changed();
    });

  it('is started again when it ends', async () => {
    const dying = service('echo hello; exit 3');
    dying.start();
    await until(() => dying.status.restarts >= 3);
    expect(dying.status.lastEnd).toBe(3);
    await dying.stop(1000);
    expect(dying.status).toMatchObject({ state: 'stopped', pid: null });
    expect(readFileSync(join(folder, 'worker.log'), 'utf8')).toContain('hello');
  });

  it('is left alone when its configuration is wrong', async () => {
    const wrong = service('exit 78');
    wrong.start();
    await until(() => wrong.status.state === 'misconfigured');
    expect(wrong.status.restarts).toBe(0);
  });

  it('is killed when it does not end by itself', async () => {
    const stubborn = service('trap "" TERM; echo deaf; while :; do sleep 1; done');
    stubborn.start();
    while (!readFileSync(stubborn.logFile, 'utf8').includes('deaf')) await new Promise((resolve) => setImmediate(resolve));
    await stubborn.stop(50);
    expect(stubborn.status).toMatchObject({ state: 'stopped', lastEnd: 'SIGKILL' });
  });

  it('is reported when it cannot be started at all', async () => {
    const plan: ServicePlan = { name: 'api', command: '/nonexistent', args: [], env: {}, stopSignal: 'SIGTERM' };
    const missing = new Service(plan, join(folder, 'api.log'), hastyClock, () => changed());
    missing.start();
    await until(() => missing.status.restarts >= 1);
    expect(String(missing.status.lastEnd)).toContain('ENOENT');
    await missing.stop(1000);
  });
});

it('waits longer and longer, up to a bound', () => {
  expect([0, 1, 2, 3].map(backOffMs)).toEqual([250, 500, 1000, 2000]);
  expect(backOffMs(1000)).toBe(10_000);
});
