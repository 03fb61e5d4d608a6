/**
 * Every name below alcove.test is this machine; all others are asked as before: what a wildcard record in a DNS does for a real domain. To be imported, or preloaded
 * (`node --import`).
 */
import dns from 'node:dns';

const known = dns as { lookup: typeof dns.lookup & { alcove?: true } };

if (!known.lookup.alcove) {
  const before = known.lookup as (...args: unknown[]) => void;
  const lookup = (name: string, ...rest: unknown[]): void => before(/(^|\.)alcove\.test$/.test(name) ? '127.0.0.1' : name, ...rest);
  known.lookup = Object.assign(lookup as unknown as typeof dns.lookup, { alcove: true as const });
}
