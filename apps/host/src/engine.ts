import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, errorCode, type Log } from '@alcove/base';
import { Problem, TemplateManifest } from '@alcove/contracts';
import { createFakeDriver, type Driver, type Template } from '@alcove/runtime';
import type { HostSettings } from './config';
import type { Templates } from './templates';

export interface Engine {
  driver: Driver;
  templates: Templates;
}

/** The driver that the settings name, and the templates it may start from. */
export async function createEngine(settings: HostSettings, clock: Clock, log: Log): Promise<Engine> {
  await mkdir(settings.ALCOVE_STORE_DIR, { recursive: true });
  if (settings.ALCOVE_DRIVER === 'fake') return fakeEngine(settings, clock, log);
  throw new Problem('engine.missing', { detail: 'the QEMU driver is not here yet' });
}

/** Fake rooms need no files: any template id will do. What is in the store is offered, or else one template named `default`. The fake machine lives in `<host dir>/fake`; a list of faults in `<host dir>/faults.json` is obeyed. */
function fakeEngine(settings: HostSettings, clock: Clock, log: Log): Engine {
  log.warn('the fake driver isolates nothing: for tests and trying things out only');
  const driver = createFakeDriver({ clock, folder: join(settings.ALCOVE_HOST_DIR, 'fake'), faults: { file: join(settings.ALCOVE_HOST_DIR, 'faults.json') } });
  const templates: Templates = {
    get: async (id) => fakeTemplate(id),
    list: async () => {
      const stored = await storedTemplates(join(settings.ALCOVE_STORE_DIR, 'templates'), log);
      return stored.length > 0 ? stored : [fakeTemplate(`tpl_${'0'.repeat(20)}`)];
    },
  };
  return { driver, templates };
}

function fakeTemplate(id: string): Template {
  const engine = { driver: 'fake', build: 'fake-1', accelerator: 'none', cpuModel: 'none', protocol: 1 };
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return { folder: '/nonexistent', manifest: { version: 1, id, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size, engine, files: {}, port: 8080 } };
}

async function storedTemplates(folder: string, log: Log): Promise<Template[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return [];
    throw error;
  });
  const found: Template[] = [];
  for (const name of names) {
    try {
      found.push({ folder: join(folder, name), manifest: TemplateManifest.parse(JSON.parse(await readFile(join(folder, name, 'manifest.json'), 'utf8'))) });
    } catch (err) {
      log.warn({ err, template: name }, 'a template could not be read');
    }
  }
  return found;
}
