import { mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Problem } from '@alcove/contracts';
import { listedWhenChanged } from './templates';

it('lists again when the folder changed or listing failed, and not otherwise', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-templates-'));
  let times = 0;
  let broken = false;
  const store = {
    get: async () => Promise.reject(new Problem('template.not_found')),
    list: async () => {
      times += 1;
      if (broken) throw new Problem('unavailable');
      return [];
    },
  };
  const templates = listedWhenChanged(store, folder);
  await Promise.all([templates.list(), templates.list()]);
  await templates.list();
  expect(times).toBe(1);
  broken = true;
  utimesSync(folder, 1, 1);
  await expect(templates.list()).rejects.toThrow('unavailable');
  broken = false;
  expect(await templates.list()).toEqual([]);
  expect(times).toBe(3);
  rmSync(folder, { recursive: true });
});
