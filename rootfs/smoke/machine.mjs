// Boots a template's files in QEMU, without any of the platform. The real driver is libs/runtime/src/drivers/qemu.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Channel } from './channel.mjs';

// A boot that has not reached the initrd by then hangs; one that has is only slow.
const KERNEL_DEADLINE_MS = 30_000;
const BOOT_DEADLINE_MS = 90_000;
const BOOT_ATTEMPTS = 3;

/** A running virtual machine and its channel. `stop` ends it and removes its folder. */
export class Machine {
  constructor(folder, process) {
    Object.assign(this, { folder, process, channel: undefined });
  }

  get console() {
    return readFileSync(join(this.folder, 'console'), 'utf8');
  }

  /** Rejects when the kernel hangs; otherwise stays silent. */
  async failsToStart() {
    await new Promise((resolve) => setTimeout(resolve, KERNEL_DEADLINE_MS).unref());
    if (!this.console.includes('alcove: initrd')) throw new Error('the kernel hangs');
    await new Promise(() => {});
  }

  /** Waits until the machine has ended by itself. */
  async ended() {
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, 'exit');
  }

  async stop() {
    this.channel?.close();
    this.process.kill('SIGKILL');
    await this.ended();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Options that every machine of a template has; `memory` is a `-object memory-backend…` without its size. */
export function options(template, folder, { memory = 'memory-backend-ram', memoryMiB = 512, disk, extra = [] }) {
  return [
    ...['-M', 'microvm,rtc=on,acpi=on,memory-backend=ram0', '-object', `${memory},id=ram0,size=${memoryMiB}M`],
    ...['-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', String(memoryMiB), '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-kernel', join(template, 'vmlinuz'), '-initrd', join(template, 'initrd.img')],
    ...['-append', `console=ttyS0 quiet reboot=t panic=-1 init_on_free=1 tsc_early_khz=${tscKilohertz(template)} tsc=reliable`],
    ...['-serial', `file:${join(folder, 'console')}`, '-qmp', `unix:${join(folder, 'qmp')},server=on,wait=off`],
    ...['-drive', `id=root,file=${join(template, 'rootfs.erofs')},format=raw,if=none,readonly=on`, '-device', 'virtio-blk-device,drive=root'],
    ...['-drive', `id=disk,file=${disk},format=qcow2,if=none,discard=unmap`, '-device', 'virtio-blk-device,drive=disk'],
    ...['-device', 'virtio-serial-device', '-chardev', `socket,id=channel,path=${join(folder, 'channel')},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=channel,name=alcove.0', ...extra],
  ];
}

/** An emulated guest cannot measure the host's time stamp counter when the machine is busy (guest-agent/src/tsc.rs). */
function tscKilohertz(template) {
  return execFileSync(join(template, 'guest-agent'), ['tsc-khz'], { encoding: 'utf8' }).trim();
}

export async function run(program, args) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}

/** A new disk over the template's blank one. */
export async function makeDisk(template, path) {
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', join(template, 'disk.ext4'), path]);
}

/** Starts QEMU in a folder of its own. */
export async function launch(template, settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-smoke-'));
  const disk = settings.disk ?? join(folder, 'disk.qcow2');
  if (settings.disk === undefined) await makeDisk(template, disk);
  const args = options(template, folder, { ...settings, disk });
  const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  return new Machine(folder, child);
}

/** Boots until the guest agent answers the sync. Emulated boots hang now and then at clock calibration: three attempts. */
export async function boot(template, settings = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const machine = await launch(template, settings);
    try {
      machine.channel = await Channel.open(join(machine.folder, 'channel'));
      await Promise.race([machine.channel.sync(BOOT_DEADLINE_MS), machine.failsToStart()]);
      return { machine, attempt };
    } catch (error) {
      const said = machine.console;
      await machine.stop();
      if (attempt === BOOT_ATTEMPTS) throw new Error(`no boot in ${attempt} attempts: ${error.message}\n${said}`);
    }
  }
}
