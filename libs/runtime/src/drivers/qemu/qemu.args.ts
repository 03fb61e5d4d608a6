import { guestProtocol } from '@alcove/contracts';
import { identityFile } from './vm-processes';

export type Accelerator = 'kvm' | 'tcg';

/**
 * The file descriptors that a VMM inherits. It is given open files and never paths, so the folders of the store may be closed to the user it runs as, and a VMM that
 * a guest has taken over can open nothing else.
 */
export const inherited = { secret: 3, state: 4, memory: 5, root: 6, base: 7, disk: 8, kernel: 9, initrd: 10, kvm: 11 } as const;

/** Names of sockets and files in a VMM's run folder, which is its working directory. */
export const runFiles = { monitor: 'qmp.sock', channel: 'channel.sock', log: 'vmm.log', identity: identityFile, deviceState: 'state.fifo' } as const;

/** Node names and chardev names that the driver refers to later. */
export const diskNode = 'disk';
export const consoleDevice = 'console';

export interface VmmShape {
  /** Shown by ps. */
  name: string;
  accelerator: Accelerator;
  cpuModel: string;
  memoryMiB: number;
  vcpus: number;
  /** Translation cache of emulated processors. */
  tbSizeMiB: number;
  /** `private`: a copy-on-write view of the template's memory. `captured`: the memory file is written, to become a template's. */
  memory: 'private' | 'captured';
  /** `room`: an encrypted qcow2 over the template's disk. `template`: the raw disk itself, writable. */
  disk: 'room' | 'template';
  /** Boot a kernel with this command line; without it the VMM waits for device state. */
  commandLine?: string;
  /** What the guest's real-time clock shows at power on, `YYYY-MM-DDTHH:MM:SS` in UTC. Without it, the host's time. */
  clockBase?: string;
}

/**
 * QEMU's command line for a room or a template. Pure. Everything that shapes device state is the same for all uses; what differs is where memory and disk come from.
 * Devices take the virtio-mmio slots in the order given here (a `bus=` of their own choosing made the kernel hang). There is no network card.
 */
export function vmmArguments(shape: VmmShape): string[] {
  return [
    ...['-name', shape.name],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...machineArguments(shape),
    ...controlArguments(),
    ...blockArguments(shape),
    ...channelArguments(),
    ...startArguments(shape),
  ];
}

/** Part of the compatibility key: device state fits only a VMM whose machine is spelled the same. */
export const machineType = 'microvm,rtc=on,acpi=on,isa-serial=on';

function machineArguments(shape: VmmShape): string[] {
  const access = shape.memory === 'private' ? 'share=off,readonly=on,rom=off' : 'share=on,readonly=off';
  return [
    ...['-machine', `${machineType},memory-backend=ram0`],
    ...acceleratorArguments(shape),
    ...['-cpu', shape.cpuModel],
    ...['-smp', String(shape.vcpus)],
    ...['-m', `${shape.memoryMiB}M`],
    ...['-object', `memory-backend-file,id=ram0,size=${shape.memoryMiB}M,mem-path=/dev/fd/${inherited.memory},${access}`],
    // The state of a room has no section that names the machine: it is checked by the image's compatibility key instead.
    ...['-global', 'migration.send-configuration=off'],
    ...['-rtc', shape.clockBase === undefined ? 'base=utc' : `base=${shape.clockBase}`],
  ];
}

function acceleratorArguments(shape: VmmShape): string[] {
  if (shape.accelerator === 'tcg') return ['-accel', `tcg,thread=multi,tb-size=${shape.tbSizeMiB}`];
  return ['-add-fd', `fd=${inherited.kvm},set=${inherited.kvm}`, '-accel', `kvm,device=/dev/fdset/${inherited.kvm}`];
}

function controlArguments(): string[] {
  return [
    ...['-chardev', `socket,id=monitor,path=${runFiles.monitor},server=on,wait=off`],
    ...['-mon', 'chardev=monitor,mode=control'],
    // The kernel's console goes to a ring in the VMM's own memory: bounded, and never in a file.
    ...['-chardev', `ringbuf,id=${consoleDevice},size=65536`],
    ...['-serial', `chardev:${consoleDevice}`],
  ];
}

function blockArguments(shape: VmmShape): string[] {
  const root = [
    ...['-add-fd', `fd=${inherited.root},set=${inherited.root}`],
    ...['-blockdev', `driver=file,node-name=root,filename=/dev/fdset/${inherited.root},read-only=on`],
    ...['-device', 'virtio-blk-device,drive=root'],
  ];
  const attach = ['-device', `virtio-blk-device,drive=${diskNode}`];
  if (shape.disk === 'template') {
    return [
      ...root,
      ...['-add-fd', `fd=${inherited.disk},set=${inherited.disk}`],
      ...['-blockdev', `driver=file,node-name=${diskNode},filename=/dev/fdset/${inherited.disk}`],
      ...attach,
    ];
  }
  return [
    ...root,
    ...['-add-fd', `fd=${inherited.base},set=${inherited.base}`],
    ...['-add-fd', `fd=${inherited.disk},set=${inherited.disk}`],
    ...['-object', `secret,id=passphrase,format=base64,file=/dev/fd/${inherited.secret}`],
    ...['-blockdev', `driver=file,node-name=base,filename=/dev/fdset/${inherited.base},read-only=on`],
    ...['-blockdev', `driver=file,node-name=disk-file,filename=/dev/fdset/${inherited.disk}`],
    ...['-blockdev', `driver=qcow2,node-name=${diskNode},file=disk-file,backing=base,encrypt.format=luks,encrypt.key-secret=passphrase`],
    ...attach,
  ];
}

function channelArguments(): string[] {
  return [
    ...['-chardev', `socket,id=channel,path=${runFiles.channel},server=on,wait=off`],
    ...['-device', 'virtio-serial-device,max_ports=2'],
    ...['-device', `virtserialport,id=channel-port,chardev=channel,name=${guestProtocol.portName}`],
  ];
}

function startArguments(shape: VmmShape): string[] {
  if (shape.commandLine === undefined) return ['-S', '-incoming', 'defer'];
  return [
    ...['-kernel', `/dev/fd/${inherited.kernel}`],
    ...['-initrd', `/dev/fd/${inherited.initrd}`],
    ...['-append', shape.commandLine],
  ];
}
