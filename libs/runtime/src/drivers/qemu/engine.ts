import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { guestProtocol, type Isolation, Problem, type TemplateManifest } from '@alcove/contracts';
import { findProgram } from './processes';
import { type Accelerator, machineType } from './qemu.args';

const run = promisify(execFile);

/** The oldest QEMU that has all this driver uses: `memory-backend-file` with `rom=off` came with 8.2. */
const oldestVersion = [8, 2] as const;

/** The machine monitor as it is on this host. Everything but the path shapes device state. */
export interface QemuEngine {
  qemuPath: string;
  accelerator: Accelerator;
  /** The build, as it names itself, and the model of the processor below it. */
  build: string;
  cpuModel: string;
  /** How fast the processor's time-stamp counter counts: an emulated kernel is told, because its own attempt to find out hangs on a busy host. */
  tscKhz?: number;
}

export function isolationOf(accelerator: Accelerator): Isolation {
  return accelerator === 'kvm' ? 'hardware' : 'emulated';
}

/** Under emulation every feature that the build can emulate, whatever the host; under KVM the host's own processor. */
export function cpuModelOf(accelerator: Accelerator): string {
  return accelerator === 'kvm' ? 'host' : 'max';
}

/** The version line of a QEMU. Problem `engine.missing` when it is not there or too old. */
export async function readVersion(qemuPath: string): Promise<{ program: string; line: string; version: string }> {
  const program = await findProgram(qemuPath, 'qemu-system-x86');
  const { stdout } = await run(program, ['--version']);
  const line = stdout.split('\n')[0] ?? '';
  const numbers = /version (\d+)\.(\d+)(\.\d+)?/.exec(line);
  const [major, minor] = [Number(numbers?.[1] ?? 0), Number(numbers?.[2] ?? 0)];
  if (major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1])) {
    throw new Problem('engine.missing', { detail: `QEMU ${major}.${minor} is too old: 8.2 or newer is needed (Debian 12: apt install -t bookworm-backports qemu-system-x86)` });
  }
  return { program, line, version: `${major}.${minor}` };
}

/**
 * The build string: QEMU's own version line and the host's processor. Emulated guests count time by the host's time-stamp counter, and under KVM they see its features, so
 * a memory image does not fit another model.
 */
export async function readEngine(qemuPath: string, accelerator: Accelerator): Promise<QemuEngine> {
  const [{ program, line }, cpuinfo] = await Promise.all([readVersion(qemuPath), readFile('/proc/cpuinfo', 'utf8')]);
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(cpuinfo)?.[1]?.trim() ?? 'unknown';
  const processor = [field('vendor_id'), field('cpu family'), field('model'), field('model name')].join('/');
  return { qemuPath: program, accelerator, build: `${line.replace(/^QEMU emulator version /, 'qemu ')} on ${processor}`, cpuModel: cpuModelOf(accelerator) };
}

/** SHA-256 over everything that a memory image depends on. An image is opened only where this is the same. */
export function compatibilityOf(engine: QemuEngine, template: TemplateManifest): string {
  const parts = [
    'alcove/qemu/1',
    engine.build,
    machineType,
    engine.cpuModel,
    engine.accelerator,
    String(template.size.memoryMiB),
    String(template.size.vcpus),
    template.id,
    String(guestProtocol.version),
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/** Why a template's memory cannot be started by this engine, or undefined when it can. Its kernel and root file system always can. */
export function whyNotRestorable(engine: QemuEngine, template: TemplateManifest): string | undefined {
  const made = template.engine;
  if (made.driver !== 'qemu') return `it was captured by the ${made.driver} driver`;
  if (made.build !== engine.build) return `it was captured by ${made.build}`;
  if (made.accelerator !== engine.accelerator || made.cpuModel !== engine.cpuModel) return `it was captured with ${made.accelerator}`;
  if (made.protocol !== guestProtocol.version) return `it speaks version ${made.protocol} of the guest channel`;
  return undefined;
}
