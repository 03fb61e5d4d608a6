import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { silentLog, systemClock } from '@alcove/base';
import type { ClaimMode } from '@alcove/contracts';
import { type GuestSession, openGuestSession, type QemuEngine, requireEngine, type Template } from '@alcove/runtime';
import { bootWithAttempts, kernelCommandLine } from '../../libs/runtime/src/drivers/qemu/boot-attempts';
import { findMapping, findPrivatePages, PageWriter, readDifferentPages } from '../../libs/runtime/src/drivers/qemu/pages';
import { Vmm } from '../../libs/runtime/src/drivers/qemu/vmm';
import type { PageRun } from '../../libs/runtime/src/image/chunk-packer';

const run = promisify(execFile);
const never = new AbortController().signal;
const tbSizeMiB = 64;

/** A sleeping room without a platform: plain memory in this process, a plain disk. */
interface Asleep {
  state: Buffer;
  pages: PageRun[];
  disk: string;
}

/**
 * The same template and the same VMM, driven by a plain script: no sealing, no encryption, no journal, no control plane. What a wake could cost at best, and what a
 * kernel boot costs.
 */
export class BareVmm {
  #asleep: Asleep | undefined;
  #runs = 0;
  private constructor(
    private readonly engine: QemuEngine,
    private readonly template: Template,
    private readonly folder: string,
  ) {}

  static async open(template: Template): Promise<BareVmm> {
    const engine = await requireEngine({ qemuPath: 'qemu-system-x86_64', qemuImgPath: 'qemu-img', accelerator: 'auto', clock: systemClock });
    return new BareVmm(engine, template, await mkdtemp(join(tmpdir(), 'alcove-bare-')));
  }

  /** Milliseconds from launching the VMM with an idle room's memory to the first byte of its agent's answer. */
  async resume(): Promise<number> {
    this.#asleep ??= await this.#prepare();
    const { state, pages, disk } = this.#asleep;
    const own = await this.#copyOf(disk);
    const started = performance.now();
    const { vmm, guest } = await this.#restore(own, state, pages, 'resumed');
    await ask(guest);
    const took = performance.now() - started;
    await this.#end(vmm, guest, own);
    return took;
  }

  /** Milliseconds from launching the VMM with the template's kernel to the first byte of its agent's answer. */
  async coldBoot(): Promise<number> {
    const disk = await this.#copyOf(join(this.template.folder, 'disk.ext4'));
    const started = performance.now();
    const { vmm, guest } = await bootWithAttempts(() => this.#launch(disk, kernelCommandLine(this.engine)), { clock: systemClock, log: silentLog });
    await claim(guest, 'fresh');
    await ask(guest);
    const took = performance.now() - started;
    await this.#end(vmm, guest, disk);
    return took;
  }

  async close(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** A room that was started from the template, has answered once and was stopped. */
  async #prepare(): Promise<Asleep> {
    const disk = await this.#copyOf(join(this.template.folder, 'disk.ext4'));
    const memoryFile = join(this.template.folder, 'mem');
    const { vmm, guest } = await this.#restore(disk, await readFile(join(this.template.folder, 'state')), [], 'fresh');
    await ask(guest);
    const pipe = await vmm.prepareSave();
    await guest.quiesce();
    await vmm.stop();
    const state = await pipe.save(vmm.monitor);
    const mapping = await findMapping(vmm.identity.pid, memoryFile);
    const { spans } = await findPrivatePages(mapping);
    const pages: PageRun[] = [];
    for await (const one of readDifferentPages(mapping, spans, memoryFile)) pages.push(one);
    guest.close();
    await vmm.quit();
    return { state, pages, disk };
  }

  async #restore(disk: string, state: Buffer, pages: PageRun[], mode: ClaimMode): Promise<{ vmm: Vmm; guest: GuestSession }> {
    const vmm = await this.#launch(disk);
    const channel = await vmm.connectChannel();
    if (pages.length > 0) {
      const writer = await PageWriter.open(await findMapping(vmm.identity.pid, join(this.template.folder, 'mem')));
      for (const one of pages) await writer.write(one);
      await writer.close();
    }
    await vmm.loadDeviceState(state);
    const opening = openGuestSession(channel, { clock: systemClock, log: silentLog });
    await vmm.resume();
    const guest = await opening;
    await claim(guest, mode);
    return { vmm, guest };
  }

  #launch(disk: string, commandLine?: string): Promise<Vmm> {
    const { folder, manifest } = this.template;
    const boots = commandLine === undefined ? {} : { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd.img') };
    return Vmm.launch({
      qemuPath: this.engine.qemuPath,
      shape: {
        name: 'alcove-bare',
        accelerator: this.engine.accelerator,
        cpuModel: this.engine.cpuModel,
        memoryMiB: manifest.size.memoryMiB,
        vcpus: manifest.size.vcpus,
        tbSizeMiB,
        memory: 'private',
        disk: 'template',
        ...(commandLine === undefined ? {} : { commandLine }),
      },
      folder: join(this.folder, `run-${++this.#runs}`),
      files: { memory: join(folder, 'mem'), root: join(folder, 'rootfs.erofs'), disk, ...boots },
      uid: null,
      clock: systemClock,
    });
  }

  async #copyOf(disk: string): Promise<string> {
    const copy = join(this.folder, `disk-${randomBytes(4).toString('hex')}.ext4`);
    await run('cp', ['--sparse=always', '--reflink=auto', '--no-preserve=mode', '--', disk, copy]);
    await truncate(copy, this.template.manifest.size.diskMiB * 2 ** 20);
    return copy;
  }

  async #end(vmm: Vmm, guest: GuestSession, disk: string): Promise<void> {
    guest.close();
    await vmm.kill();
    await Promise.all([rm(vmm.folder, { recursive: true, force: true }), rm(disk, { force: true })]);
  }
}

/** n resumes of one idle room of this template, in milliseconds to the first byte of the agent's answer. */
export async function bareResume(template: Template, n: number): Promise<number[]> {
  return sample(template, n, (bare) => bare.resume());
}

/** n kernel boots of this template, in milliseconds to the first byte of the agent's answer. */
export async function coldBoot(template: Template, n: number): Promise<number[]> {
  return sample(template, n, (bare) => bare.coldBoot());
}

async function sample(template: Template, n: number, take: (bare: BareVmm) => Promise<number>): Promise<number[]> {
  const bare = await BareVmm.open(template);
  try {
    const taken: number[] = [];
    while (taken.length < n) taken.push(await take(bare));
    return taken;
  } finally {
    await bare.close();
  }
}

function claim(guest: GuestSession, mode: ClaimMode): Promise<unknown> {
  return guest.claim({
    roomId: `room_${'0'.repeat(20)}`,
    incarnation: 1,
    mode,
    entropy: randomBytes(256),
    wallClockNs: BigInt(systemClock.now()) * 1_000_000n,
    machineId: createHash('sha256').update('bare').digest('hex').slice(0, 32),
    hostname: 'bare',
    env: {},
  });
}

/** Resolves at the first byte of the agent's answer to a short message. */
async function ask(guest: GuestSession): Promise<void> {
  const socket = await guest.connect(8080, 60_000, never);
  const body = JSON.stringify({ prompt: 'hello' });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), host: '127.0.0.1', connection: 'close' };
  await new Promise<void>((resolve, reject) => {
    const outgoing = request({ method: 'POST', path: '/invocations', headers, createConnection: () => socket }, (answer) => {
      if (answer.statusCode === 200) answer.once('data', () => resolve());
      else reject(new Error(`the agent answered ${answer.statusCode}`));
      answer.on('error', () => undefined);
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
  socket.destroy();
}
