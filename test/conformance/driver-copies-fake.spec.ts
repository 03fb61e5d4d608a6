import { FakeDriver, FakeWorld } from '@alcove/runtime';
import { type CopiesBench, describeCopies } from '../../libs/testing/src/driver-copies';
import { template } from './host-in-process';

async function bench(): Promise<CopiesBench> {
  const world = new FakeWorld();
  const driver = new FakeDriver({ world });
  return {
    driver,
    template: template(),
    restart: async () => driver,
    killVm: async (room) => void world.kill(room),
    damageImage: async (image) => world.damageImage(image.id),
    tracesOf: async (roomId) => [...world.imagesOf(roomId).map(({ ref }) => ref.id), ...(world.disks.get(roomId) ? ['disk'] : [])],
    close: () => driver.close(),
  };
}

describeCopies('fake', bench, { verbMs: 1000 });
