import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert, Secret, silentLog, systemClock } from '@alcove/base';
import type { RoomKey } from '@alcove/runtime';
import { createQemuDriver, type QemuDriver, type RoomSpec, type Template } from '@alcove/runtime';
import { builtTemplate } from '../built-template';

/** Suites on real VMs are passed over where no template was built. */
export const whereBuilt = builtTemplate() ? describe : describe.skip;

const tbSizeMiB = 64;

export function testTemplate(): Template {
  const template = builtTemplate();
  assert(template, 'no template: run ./alcove setup first');
  return template;
}

/** A host's folders with the QEMU driver on them. As root every VM runs as a user of its own. */
export class QemuMachine {
  driver!: QemuDriver;
  private constructor(
    readonly folder: string,
    readonly template: Template,
  ) {}

  static async make(): Promise<QemuMachine> {
    const machine = new QemuMachine(await mkdtemp(join(tmpdir(), 'alcove-qemu-')), testTemplate());
    await machine.restart();
    return machine;
  }

  get storeDir(): string {
    return join(this.folder, 'store');
  }

  /** Another driver over the same folders, as a restarted host agent makes one. */
  async restart(): Promise<QemuDriver> {
    await this.driver?.close();
    this.driver = await createQemuDriver({
      accelerator: 'auto',
      qemuPath: 'qemu-system-x86_64',
      qemuImgPath: 'qemu-img',
      storeDir: this.storeDir,
      hostDir: join(this.folder, 'host'),
      uidBase: process.getuid?.() === 0 ? 910_000 : null,
      tbSizeMiB,
      log: silentLog,
      clock: systemClock,
    });
    return this.driver;
  }

  spec(roomId: string, incarnation: number, change: Partial<RoomSpec> = {}): RoomSpec {
    const keys = { image: new Secret(Buffer.alloc(32, 1)), disk: new Secret(Buffer.alloc(32, 2)) };
    return { roomId, incarnation, template: this.template, keys, env: {}, hasDisk: incarnation > 1, ...change };
  }

  async pidOf(room: RoomKey): Promise<number> {
    const found = (await this.driver.inspect()).find((vm) => vm.roomId === room.roomId && vm.incarnation === room.incarnation);
    if (!found) throw new Error('no such VM runs');
    return found.pid;
  }

  /** Makes the room's next seal fail where it begins to write, until the returned function is called. */
  async obstructImages(roomId: string): Promise<() => Promise<void>> {
    const images = join(this.storeDir, 'rooms', roomId, 'images');
    await rm(images, { recursive: true, force: true });
    await writeFile(images, '');
    return async () => {
      await rm(images);
      await mkdir(images, { mode: 0o700 });
    };
  }

  async close(): Promise<void> {
    for (const vm of await this.driver.inspect()) await this.driver.stop(vm);
    await this.driver.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}
