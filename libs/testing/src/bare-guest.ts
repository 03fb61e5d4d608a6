import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@alcove/base';
import { TemplateManifest } from '@alcove/contracts';

const bootAttempts = 3;
const bootMs = 30_000;

/** An emulated kernel that measures its time-stamp counter on a busy host may wait for ever; told the rate, it does not measure. The emulator's counter is the host's. */
function clockWords(): string {
  const mhz = /^cpu MHz\s*:\s*([0-9.]+)/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return mhz === undefined ? '' : ` tsc_early_khz=${Math.round(Number(mhz) * 1000)} tsc=reliable`;
}

/** A template's files booted in QEMU by hand, without driver or platform: for what only a real guest can show about the channel. */
export class BareGuest {
  private constructor(
    readonly folder: string,
    private readonly vmm: ChildProcess,
  ) {}

  /** Boots; `use` must get an answer from the guest in time, else the boot is tried again (emulated boots hang now and then). */
  static async boot<T>(template: string, use: (channel: Socket, signal: AbortSignal) => Promise<T>): Promise<{ guest: BareGuest; session: T }> {
    for (let attempt = 1; ; attempt++) {
      const guest = await BareGuest.launch(template);
      try {
        const session = await use(await guest.connect(), AbortSignal.timeout(bootMs));
        return { guest, session };
      } catch (error) {
        const console_ = await readFile(join(guest.folder, 'console'), 'utf8').catch(() => '');
        await guest.stop();
        if (attempt === bootAttempts) throw new Error(`no boot in ${bootAttempts} attempts\n${console_}`, { cause: error });
      }
    }
  }

  private static async launch(template: string): Promise<BareGuest> {
    const folder = await mkdtemp(join(tmpdir(), 'alcove-guest-'));
    const disk = join(folder, 'disk.qcow2');
    // A template's disk ends where it holds nothing but zeros.
    const { size } = TemplateManifest.parse(JSON.parse(await readFile(join(template, 'manifest.json'), 'utf8')));
    const image = spawn('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', join(template, 'disk.ext4'), disk, `${size.diskMiB}M`], { stdio: 'ignore' });
    await once(image, 'exit');
    return new BareGuest(folder, spawn('qemu-system-x86_64', machine(template, folder, disk), { stdio: 'ignore' }));
  }

  /** A new connection to the guest's channel; QEMU takes one at a time. */
  async connect(): Promise<Socket> {
    for (;;) {
      const socket = connect(join(this.folder, 'channel'));
      try {
        // Rejects with the socket's error.
        await once(socket, 'connect');
        return socket;
      } catch (cause) {
        if (this.vmm.exitCode !== null) throw new Error('QEMU has ended', { cause });
        await systemClock.sleep(2);
      }
    }
  }

  get vmmPid(): number {
    return this.vmm.pid ?? 0;
  }

  async stop(): Promise<void> {
    if (this.vmm.exitCode === null && this.vmm.signalCode === null) {
      this.vmm.kill('SIGKILL');
      await once(this.vmm, 'exit');
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

function machine(template: string, folder: string, disk: string): string[] {
  return [
    ...['-M', 'microvm,rtc=on,acpi=on', '-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', '512', '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-kernel', join(template, 'vmlinuz'), '-initrd', join(template, 'initrd.img'), '-append', `console=ttyS0 quiet reboot=t panic=-1 init_on_free=1${clockWords()}`],
    ...['-serial', `file:${join(folder, 'console')}`],
    ...['-drive', `id=root,file=${join(template, 'rootfs.erofs')},format=raw,if=none,readonly=on`, '-device', 'virtio-blk-device,drive=root'],
    ...['-drive', `id=disk,file=${disk},format=qcow2,if=none`, '-device', 'virtio-blk-device,drive=disk'],
    ...['-device', 'virtio-serial-device', '-chardev', `socket,id=channel,path=${join(folder, 'channel')},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=channel,name=alcove.0'],
  ];
}
