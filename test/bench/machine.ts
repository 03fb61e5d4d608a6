import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** Where figures were taken: without it they mean nothing. */
export interface Machine {
  processor: string;
  processors: number;
  memoryMiB: number;
  kernel: string;
  system: string;
  node: string;
  /** The load average of the last minute when the run began: other work on the machine shows here. */
  load: number;
}

export function describeMachine(): Machine {
  const all = cpus();
  return {
    processor: all[0]?.model ?? 'unknown',
    processors: all.length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    node: process.version,
    load: Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]),
  };
}
