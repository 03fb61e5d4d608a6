import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Log } from '@alcove/base';
import { createFakeDriver, createQemuDriver, type Driver, type Template, TemplateStore } from '@alcove/runtime';
import type { HostSettings } from './config';
import { listedWhenChanged, type Templates } from './templates';

export interface Engine {
  driver: Driver;
  templates: Templates;
}

/** The driver that the settings name, and the templates it may start from. */
export async function createEngine(settings: HostSettings, clock: Clock, log: Log): Promise<Engine> {
  await mkdir(settings.ALCOVE_STORE_DIR, { recursive: true });
  return settings.ALCOVE_DRIVER === 'fake' ? fakeEngine(settings, clock, log) : qemuEngine(settings, clock, log);
}

/** Every file of every template is hashed once before anything starts from it: images are differences against these bytes. */
async function qemuEngine(settings: HostSettings, clock: Clock, log: Log): Promise<Engine> {
  const driver = await createQemuDriver({
    accelerator: settings.ALCOVE_ACCELERATOR,
    qemuPath: settings.ALCOVE_QEMU,
    qemuImgPath: settings.ALCOVE_QEMU_IMG,
    storeDir: settings.ALCOVE_STORE_DIR,
    hostDir: settings.ALCOVE_HOST_DIR,
    uidBase: settings.ALCOVE_VM_UID_BASE ?? null,
    tbSizeMiB: settings.ALCOVE_TB_SIZE_MIB,
    log,
    clock,
  });
  return { driver, templates: storedTemplates(settings) };
}

/** Fake rooms need no files: any template id will do. What is in the store is offered, or else one template named `default`. The fake machine lives in `<host dir>/fake`; a list of faults in `<host dir>/faults.json` is obeyed. */
function fakeEngine(settings: HostSettings, clock: Clock, log: Log): Engine {
  log.warn('the fake driver isolates nothing: for tests and trying things out only');
  const driver = createFakeDriver({ clock, folder: join(settings.ALCOVE_HOST_DIR, 'fake'), faults: { file: join(settings.ALCOVE_HOST_DIR, 'faults.json') } });
  const store = storedTemplates(settings);
  const templates: Templates = {
    get: async (id) => fakeTemplate(id),
    list: async () => {
      const stored = await store.list();
      return stored.length > 0 ? stored : [fakeTemplate(`tpl_${'0'.repeat(20)}`)];
    },
  };
  return { driver, templates };
}

function storedTemplates(settings: HostSettings): Templates {
  return listedWhenChanged(new TemplateStore(settings.ALCOVE_STORE_DIR), join(settings.ALCOVE_STORE_DIR, 'templates'));
}

function fakeTemplate(id: string): Template {
  const engine = { driver: 'fake', build: 'fake-1', accelerator: 'none', cpuModel: 'none', protocol: 1 };
  const size = { memoryMiB: 512, vcpus: 1, diskMiB: 4096 };
  return { folder: '/nonexistent', manifest: { version: 1, id, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size, engine, files: {}, port: 8080 } };
}
