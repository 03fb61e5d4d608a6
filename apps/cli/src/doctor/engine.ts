import { systemClock } from '@alcove/base';
import { probeMachine } from '@alcove/runtime';
import type { Context } from '../context';
import { ok, type Finding } from './findings';

/** Boots a tiny guest, under KVM and under emulation, to find out what this machine can really do. */
export async function engineFindings(context: Context): Promise<Finding[]> {
  const { report } = await probeMachine({ qemuPath: 'qemu-system-x86_64', qemuImgPath: 'qemu-img', accelerator: context.config.accelerator, clock: systemClock });
  const found = report.findings.filter(({ name }) => name !== 'qemu' && name !== 'qemu-img').map(toFinding);
  if (report.accelerator === 'none') return [...found, { name: 'rooms', level: 'fail', detail: 'no virtual machine runs here', mend: 'what is above has to be mended first' }];
  const detail = `${report.isolation} isolation (${report.accelerator})`;
  if (report.isolation === 'hardware') return [...found, ok('rooms', detail)];
  return [...found, { name: 'rooms', level: 'warn', detail: `${detail}: correct but slower, and separated by an emulator process instead of by hardware`, mend: 'for production, a machine with working KVM' }];
}

function toFinding(finding: { name: string; ok: boolean; detail: string; mend?: string }): Finding {
  const { name, detail, mend } = finding;
  return finding.ok ? ok(name, detail) : { name, level: 'fail', detail, mend: mend ?? './alcove setup' };
}
