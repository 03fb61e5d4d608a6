import type { Capacity, HostDescription } from '@alcove/contracts';

/** A host as its row says it. Only heartbeats write it, but for `lost`, which the lease watch sets. */
export interface HostRecord {
  readonly id: string;
  readonly description: HostDescription;
  readonly capacity: Capacity;
  readonly bootId: string;
  /** The sequence of the last beat of this boot. */
  readonly sequence: number;
  /** Beats ever taken; a lease is judged by whether this still counts up. */
  readonly beats: number;
  /** When the last beat came, milliseconds since 1970: for people, never for the lease. */
  readonly beatAt: number;
  /** Silent for longer than lease and margin: it has ended everything it ran, and gets nothing new until it beats again. */
  readonly lost: boolean;
}

/** The hosts of one group see the same disks and images. A host that names no group is one of its own. */
export function storeGroupOf(host: Pick<HostRecord, 'id' | 'description'>): string {
  return host.description.storeGroup ?? host.id;
}

/** What a memory image is tied to as far as a host can be chosen by it: `driver/accelerator/build`. */
export function engineOf(host: Pick<HostRecord, 'description'>): string {
  const { driver, accelerator, engineBuild } = host.description;
  return `${driver}/${accelerator}/${engineBuild}`;
}

/** A template that some host has or had. */
export interface TemplateRecord {
  readonly id: string;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly builtAt: number;
  readonly cloneSafe: boolean;
  readonly size: { readonly memoryMiB: number; readonly vcpus: number; readonly diskMiB: number };
}

export function templatesOf(description: HostDescription): TemplateRecord[] {
  return description.templates.map(({ builtAt, ...template }) => ({ ...template, builtAt: Date.parse(builtAt) }));
}
