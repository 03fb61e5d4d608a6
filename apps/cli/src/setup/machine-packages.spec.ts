import { isAtLeast, parseOsRelease, parseQemuVersion, planInstallation } from './machine-packages';

const bookworm = { id: 'debian', version: '12', name: 'Debian 12' };
const sources = 'Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n';

describe('planning the installation', () => {
  it('takes QEMU from backports on Debian 12, from the mirror that is in use', () => {
    const plan = planInstallation(['qemu-system-x86', 'qemu-utils', 'cpio'], bookworm, sources);
    expect(plan?.source?.line).toBe('deb http://mirror.example/debian bookworm-backports main');
    expect(plan?.commands).toEqual([
      ['apt-get', 'update'],
      ['apt-get', 'install', '--yes', '--no-install-recommends', 'cpio'],
      ['apt-get', 'install', '--yes', '--no-install-recommends', '--target-release', 'bookworm-backports', 'qemu-system-x86', 'qemu-utils'],
    ]);
  });

  it('adds no source twice, and none where QEMU is new enough or not missing', () => {
    expect(planInstallation(['qemu-system-x86'], bookworm, `${sources}deb http://mirror.example/debian bookworm-backports main`)?.source).toBeNull();
    expect(planInstallation(['cpio'], bookworm, sources)?.source).toBeNull();
    const trixie = planInstallation(['qemu-system-x86'], { ...bookworm, version: '13' }, sources);
    expect(trixie?.source).toBeNull();
    expect(trixie?.commands[1]).toContain('qemu-system-x86');
  });

  it('is not attempted on a system without apt', () => {
    expect(planInstallation(['cpio'], { id: 'fedora', version: '42', name: 'Fedora' }, '')).toBeNull();
  });
});

it('reads versions', () => {
  expect(parseQemuVersion('QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2~bpo12+1)')).toEqual([10, 0, 2]);
  expect(parseQemuVersion('no')).toBeNull();
  expect(isAtLeast([10, 0, 2], [8, 2])).toBe(true);
  expect(isAtLeast([8, 2, 0], [8, 2])).toBe(true);
  expect(isAtLeast([7, 2, 9], [8, 2])).toBe(false);
  expect(parseOsRelease('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n')).toEqual({ id: 'debian', version: '12', name: 'Debian GNU/Linux 12 (bookworm)' });
});
