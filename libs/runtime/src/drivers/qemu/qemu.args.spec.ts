import { inherited, type VmmShape, vmmArguments } from './qemu.args';

const shape: VmmShape = {
  name: 'alcove-room',
  accelerator: 'tcg',
  cpuModel: 'max',
  memoryMiB: 512,
  vcpus: 2,
  tbSizeMiB: 64,
  memory: 'private',
  disk: 'room',
};

/** The value that follows an option, each time it is given. */
function values(args: string[], option: string): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1] ?? ''] : []));
}

describe('the command line of a VMM', () => {
  it('gives it no network card, no firmware devices and no way to start programs', () => {
    const args = vmmArguments(shape);
    expect(args).toEqual(expect.arrayContaining(['-nodefaults', '-no-user-config']));
    expect(values(args, '-sandbox')).toEqual(['on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny']);
    expect(args.join(' ')).not.toMatch(/net|nic|virtio-net|usb|vga/);
  });

  it('opens files by inherited descriptors only', () => {
    for (const change of [{}, { commandLine: 'quiet' }, { accelerator: 'kvm' as const }]) {
      const text = vmmArguments({ ...shape, ...change }).join(' ');
      const paths = text.match(/\/[a-z0-9/.-]+/g) ?? [];
      for (const path of paths) expect(path).toMatch(/^\/dev\/fd(set)?\/\d+$/);
    }
  });

  it('maps the template read-only and shares nothing that a guest writes', () => {
    expect(values(vmmArguments(shape), '-object')).toContain(`memory-backend-file,id=ram0,size=512M,mem-path=/dev/fd/${inherited.memory},share=off,readonly=on,rom=off`);
    expect(vmmArguments(shape).join(' ')).not.toContain('share=on');
  });

  it('names the passphrase by a descriptor', () => {
    expect(values(vmmArguments(shape), '-object')).toContain(`secret,id=passphrase,format=base64,file=/dev/fd/${inherited.secret}`);
    expect(vmmArguments({ ...shape, disk: 'template' }).join(' ')).not.toContain('secret');
  });

  it('waits for device state unless it boots a kernel', () => {
    expect(vmmArguments(shape).slice(-3)).toEqual(['-S', '-incoming', 'defer']);
    const booting = vmmArguments({ ...shape, commandLine: 'console=ttyS0' });
    expect(values(booting, '-append')).toEqual(['console=ttyS0']);
    expect(booting).not.toContain('-incoming');
  });

  it('gives a template and its rooms the same machine', () => {
    const capturing = vmmArguments({ ...shape, memory: 'captured', disk: 'template', commandLine: 'quiet', clockBase: '2024-01-01T00:00:00' });
    for (const option of ['-machine', '-cpu', '-smp', '-m', '-device', '-serial']) expect(values(capturing, option)).toEqual(values(vmmArguments(shape), option));
  });
});
