import type { Machine } from './machine';
import type { Summary, Target } from './figures';

/** What one benchmark hands back, and `--json` prints. */
export interface BenchReport {
  name: string;
  machine: Machine;
  /** Milliseconds unless the name says otherwise. */
  figures: Record<string, Summary | number | string>;
  targets: Target[];
}

/** What a benchmark gets. */
export interface BenchOptions {
  samples: number;
  /** One line for a person about what happens now. */
  say: (line: string) => void;
}

/** The report for a person. */
export function describe(report: BenchReport): string {
  const lines = [`\n  ${report.name}   ${report.machine.processors} × ${report.machine.processor}, ${report.machine.memoryMiB} MiB, load ${report.machine.load}\n`];
  for (const [name, figure] of Object.entries(report.figures)) {
    const text = typeof figure === 'object' ? `p50 ${figure.p50}   p99 ${figure.p99}   min ${figure.min}   max ${figure.max}   (${figure.samples} samples)` : String(figure);
    lines.push(`  ${name.padEnd(44)} ${text}`);
  }
  lines.push('');
  for (const target of report.targets) lines.push(`  ${target.ok ? '✓' : '✗'} ${target.name.padEnd(58)} ${target.value} ${target.op} ${target.limit}`);
  return `${lines.join('\n')}\n`;
}
