/** What the doctor concludes, kept pure: text and numbers of the machine go in, a finding with its mend comes out. */

export interface Finding {
  name: string;
  level: 'ok' | 'warn' | 'fail';
  detail: string;
  /** What to do about it; absent when all is well. */
  mend?: string;
}

const gib = 2 ** 30;

export function ok(name: string, detail: string): Finding {
  return { name, level: 'ok', detail };
}

/** Memory of the machine: 512 MiB for the platform, then room for VMs. */
export function judgeMemory(totalBytes: number, availableBytes: number): Finding {
  const detail = `${(totalBytes / gib).toFixed(1)} GiB, ${(availableBytes / gib).toFixed(1)} GiB of it available`;
  if (totalBytes < 1.8 * gib) return { name: 'memory', level: 'fail', detail, mend: 'give the machine at least 2 GiB' };
  if (availableBytes < 1.5 * gib) return { name: 'memory', level: 'warn', detail, mend: 'end other programs: a running room takes 60 to 130 MiB under emulation, the platform 500 MiB' };
  return ok('memory', detail);
}

export function judgeDisk(name: string, folder: string, freeBytes: number): Finding {
  const detail = `${(freeBytes / gib).toFixed(1)} GiB free for ${folder}`;
  if (freeBytes < 2 * gib) return { name, level: 'fail', detail, mend: 'free some space, or point ALCOVE_HOME and ALCOVE_CACHE elsewhere' };
  if (freeBytes < 6 * gib) return { name, level: 'warn', detail, mend: 'setup needs about 4 GiB, every room as much as it writes' };
  return ok(name, detail);
}

/** Yama's ptrace_scope decides who may read a VM's memory, which hibernating does. `scope` is null where the kernel has no Yama. */
export function judgePtrace(scope: number | null, asRoot: boolean): Finding {
  const name = 'ptrace';
  if (scope === null || scope === 0) return ok(name, "processes of one user may read each other's memory");
  if (scope === 3) return { name, level: 'fail', detail: 'kernel.yama.ptrace_scope is 3: nobody may read a VM\'s memory, so no room can be put to sleep', mend: 'restart the machine without that setting' };
  if (asRoot) return ok(name, `ptrace_scope is ${scope}, which does not bind root`);
  if (scope === 2) return { name, level: 'fail', detail: 'kernel.yama.ptrace_scope is 2: only administrators may read a VM\'s memory', mend: 'sudo sysctl kernel.yama.ptrace_scope=1, or run as root' };
  return { name, level: 'warn', detail: 'kernel.yama.ptrace_scope is 1: a restarted host agent cannot put rooms to sleep that an earlier one started', mend: 'sudo sysctl kernel.yama.ptrace_scope=0, or run as root' };
}

/** Of /proc/self/limits: each VM takes about 20 open files in the host agent and one process. */
export function judgeLimits(limitsText: string): Finding {
  const value = (label: string): number => {
    const found = new RegExp(`^${label}\\s+(\\S+)\\s+(\\S+)`, 'm').exec(limitsText)?.[2];
    return found === undefined || found === 'unlimited' ? Number.POSITIVE_INFINITY : Number(found);
  };
  const [files, processes] = [value('Max open files'), value('Max processes')];
  const show = (count: number): string => (count === Number.POSITIVE_INFINITY ? 'unlimited' : String(count));
  const detail = `open files ${show(files)}, processes ${show(processes)}`;
  if (files < 4096 || processes < 1024) return { name: 'user limits', level: 'warn', detail, mend: 'raise nofile to 65536 and nproc to 4096 in /etc/security/limits.conf' };
  return ok('user limits', detail);
}

/** `encrypted` says of each device of /proc/swaps whether what it holds is ciphertext or never leaves memory (zram). */
export function judgeSwap(devices: { device: string; encrypted: boolean }[]): Finding {
  const open = devices.filter(({ encrypted }) => !encrypted).map(({ device }) => device);
  if (devices.length === 0) return ok('swap', 'none');
  if (open.length === 0) return ok('swap', 'encrypted or in memory only');
  return { name: 'swap', level: 'warn', detail: `${open.join(', ')} is not encrypted: memory of running rooms can reach the disk in plain text`, mend: 'sudo swapoff -a, or encrypt it (crypttab with a random key)' };
}

/** The devices of /proc/swaps: the first column below the heading. */
export function swapDevices(text: string): string[] {
  return text.trim().split('\n').slice(1).map((line) => line.split(/\s+/)[0] ?? '').filter((device) => device !== '');
}

/** A folder that the service users cannot enter: VMs and the database run as users of their own when the platform runs as root. */
export function judgeReach(home: string, closed: string | null): Finding {
  if (closed === null) return ok('home folder', home);
  return { name: 'home folder', level: 'fail', detail: `${closed} is closed to other users`, mend: `chmod o+x ${closed}, or choose another ALCOVE_HOME` };
}

export interface EdgeFacts {
  domain: string;
  /** The certificate is the user's, not one that setup makes. */
  own: boolean;
  /** Null: cannot be read; setup has not made it yet, or the user's is not there. */
  certificate: { covers: boolean; validForMs: number } | null;
  /** Where the name of a room leads; null: nowhere. */
  address: string | null;
}

export function judgeEdge({ domain, own, certificate, address }: EdgeFacts): Finding {
  const name = 'edge';
  const names = address === null ? 'its names lead nowhere: programs of this machine need apps/edge/names.cjs, others wildcard DNS' : `its names lead to ${address}`;
  const mend = own ? 'name another with ALCOVE_EDGE_CERT and ALCOVE_EDGE_KEY' : './alcove setup makes one';
  if (certificate === null && !own) return ok(name, `*.${domain}: a certificate is made at the first start; ${names}`);
  if (certificate === null) return { name, level: 'warn', detail: 'the file of ALCOVE_EDGE_CERT holds no certificate that can be read', mend };
  if (!certificate.covers) return { name, level: 'warn', detail: `the certificate is not for *.${domain}`, mend };
  if (certificate.validForMs <= 0) return { name, level: 'warn', detail: `the certificate for *.${domain} has expired`, mend };
  return ok(name, `*.${domain}; ${names}`);
}

/** The exit code says whether rooms can run here: warnings do not count. */
export function anyFailed(findings: readonly Finding[]): boolean {
  return findings.some((finding) => finding.level === 'fail');
}
