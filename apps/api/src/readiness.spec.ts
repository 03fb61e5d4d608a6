import { systemClock, type Clock } from '@alcove/base';
import { Readiness } from './readiness';

describe('readiness', () => {
  let now = 0;
  const clock: Clock = { ...systemClock, monotonic: () => now };

  it('names what does not work, and asks again only after a while', async () => {
    let databaseWorks = false;
    let asked = 0;
    const database = async (): Promise<void> => {
      asked += 1;
      if (!databaseWorks) throw new Error('password=hunter2');
    };
    const readiness = new Readiness([{ name: 'database', check: database }, { name: 'queue', check: async () => undefined }], clock);
    expect(await Promise.all([readiness.notReady(), readiness.notReady()])).toEqual([['database'], ['database']]);
    databaseWorks = true;
    now = 500;
    expect(await readiness.notReady()).toEqual(['database']);
    expect(asked).toBe(1);
    now = 1_500;
    expect(await readiness.notReady()).toEqual([]);
  });
});
