import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { type Clock, errorCode } from '@alcove/base';
import { isProblem, Problem } from '@alcove/contracts';
import type { ProbeReport } from '../../driver';
import { canConfine } from './confinement';
import { isolationOf, type QemuEngine, readEngine, readVersion } from './engine';
import { findProgram } from './processes';
import type { Accelerator } from './qemu.args';
import { runTinyGuest } from './tiny-guest';

export interface ProbeOrder {
  qemuPath: string;
  qemuImgPath: string;
  accelerator: 'auto' | Accelerator;
  clock: Clock;
}

export interface Probed {
  report: ProbeReport;
  /** Undefined when no room can run here. */
  engine: QemuEngine | undefined;
}

type Finding = ProbeReport['findings'][number];

/**
 * Finds out by trying what this machine can do: which QEMU, whether KVM runs a guest (a usable-looking /dev/kvm may not, or only instruction by instruction: nested and paravirtual hosts), and whether
 * emulation does. `auto` takes KVM when it works and emulation when it does not, and says which and why. Never throws.
 */
export async function probeMachine(order: ProbeOrder): Promise<Probed> {
  const findings: Finding[] = [];
  const qemu = await look(findings, 'qemu', async () => {
    const { program, line } = await readVersion(order.qemuPath);
    return { value: program, detail: line };
  });
  await look(findings, 'qemu-img', async () => {
    const program = await findProgram(order.qemuImgPath, 'qemu-utils');
    return { value: program, detail: program };
  });
  findings.push(await lookAtNamespaces());
  if (qemu === undefined) return { report: reportOf(undefined, findings), engine: undefined };
  const accelerator = await chooseAccelerator(order, qemu, findings);
  if (accelerator === undefined) return { report: reportOf(undefined, findings), engine: undefined };
  const engine: QemuEngine = { ...(await readEngine(qemu, accelerator.name)), tscKhz: accelerator.tscKhz };
  return { report: reportOf(engine, findings), engine };
}

/** The engine of a machine that can run rooms. Problem `engine.missing` or `engine.failed` with the first thing that is wrong. */
export async function requireEngine(order: ProbeOrder): Promise<QemuEngine> {
  const { engine, report } = await probeMachine(order);
  const wrong = report.findings.find((finding) => !finding.ok);
  if (engine) return engine;
  throw new Problem(wrong?.name === 'qemu' ? 'engine.missing' : 'engine.failed', { detail: `${wrong?.detail ?? 'no accelerator works'}${wrong?.mend ? ` (${wrong.mend})` : ''}` });
}

async function chooseAccelerator(order: ProbeOrder, qemu: string, findings: Finding[]): Promise<{ name: Accelerator; tscKhz: number } | undefined> {
  if (order.accelerator !== 'tcg') {
    const tscKhz = await tryKvm(order, qemu, findings);
    if (tscKhz !== undefined) return { name: 'kvm', tscKhz };
    if (order.accelerator === 'kvm') return undefined;
  }
  const tscKhz = await look(findings, 'emulation', async () => {
    const { tscKhz } = await runTinyGuest(qemu, 'tcg', order.clock);
    return { value: tscKhz, detail: 'a tiny guest ran under emulation (TCG)' };
  });
  return tscKhz === undefined ? undefined : { name: 'tcg', tscKhz };
}

async function tryKvm(order: ProbeOrder, qemu: string, findings: Finding[]): Promise<number | undefined> {
  const isOnlyChoice = order.accelerator === 'kvm';
  const mend = isOnlyChoice ? 'use accelerator auto or tcg, or a host with working virtualisation' : 'nothing: rooms run under emulation instead, slower and just as separate';
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    const denied = errorCode(error) === 'EACCES';
    const detail = denied ? '/dev/kvm may not be opened by this user' : 'there is no /dev/kvm';
    findings.push({ name: 'kvm', ok: !isOnlyChoice, detail, mend: denied ? 'add the user to the group kvm' : mend });
    return undefined;
  }
  try {
    const { tscKhz } = await runTinyGuest(qemu, 'kvm', order.clock);
    findings.push({ name: 'kvm', ok: true, detail: 'a tiny guest ran under KVM' });
    return tscKhz;
  } catch (error) {
    findings.push({ name: 'kvm', ok: !isOnlyChoice, detail: `/dev/kvm is there but is of no use for a guest: ${detailOf(error)}`, mend });
    return undefined;
  }
}

async function lookAtNamespaces(): Promise<Finding> {
  if (await canConfine(null)) return { name: 'namespaces', ok: true, detail: 'virtual machines run without network and without privileges' };
  return {
    name: 'namespaces',
    ok: true,
    detail: 'this machine refuses user namespaces: a virtual machine monitor that a guest has taken over could reach the network',
    mend: 'allow them: sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0',
  };
}

async function look<T>(findings: Finding[], name: string, test: () => Promise<{ value: T; detail: string }>): Promise<T | undefined> {
  try {
    const { value, detail } = await test();
    findings.push({ name, ok: true, detail });
    return value;
  } catch (error) {
    findings.push({ name, ok: false, detail: detailOf(error) });
    return undefined;
  }
}

function detailOf(error: unknown): string {
  return isProblem(error) ? (error.detail ?? error.code) : String(error);
}

function reportOf(engine: QemuEngine | undefined, findings: Finding[]): ProbeReport {
  return {
    ok: engine !== undefined && findings.every((finding) => finding.ok),
    isolation: isolationOf(engine?.accelerator ?? 'tcg'),
    accelerator: engine?.accelerator ?? 'none',
    engineBuild: engine?.build ?? 'none',
    findings,
  };
}
