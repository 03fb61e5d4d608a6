import { FakeDriver, FakeWorld, type Template } from '@alcove/runtime';
import { type DriverBench, describeDriver } from '../../libs/testing/src/driver-conformance';

const template: Template = {
  folder: '/nonexistent',
  manifest: {
    version: 1, id: `tpl_${'0'.repeat(20)}`, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 },
    engine: { driver: 'fake', build: 'fake-1', accelerator: 'none', cpuModel: 'none', protocol: 1 }, files: {}, port: 8080,
  },
};

async function bench(): Promise<DriverBench> {
  const world = new FakeWorld();
  let driver = new FakeDriver({ world });
  return {
    driver,
    template,
    restart: async () => {
      await driver.close();
      driver = new FakeDriver({ world });
      return driver;
    },
    killVm: async (room) => void world.kill(room),
    failNextSeal: async (room) => driver.script({ verb: 'seal', kind: 'disk_full', place: 'middle', roomId: room.roomId }),
    damageImage: async (image) => world.damageImage(image.id),
    close: () => driver.close(),
  };
}

describeDriver('fake', bench, { verbMs: 1000, checkpoints: true });
