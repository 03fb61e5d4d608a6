import { templatesOf, type HostRecord, type TemplateRecord } from './host';
import { HostsStore } from './hosts.store';

/** HostsStore without a database: for tests and the simulator. */
export class MemoryHostsStore extends HostsStore {
  readonly #hosts = new Map<string, HostRecord>();
  readonly #templates = new Map<string, TemplateRecord>();

  override async find(hostId: string): Promise<HostRecord | null> {
    return this.#hosts.get(hostId) ?? null;
  }

  override async all(): Promise<HostRecord[]> {
    return [...this.#hosts.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  override async beat(host: HostRecord, takeBack: boolean): Promise<'taken' | 'overtaken' | 'lost'> {
    const known = this.#hosts.get(host.id);
    if (known && known.bootId === host.bootId && known.sequence >= host.sequence) return 'overtaken';
    if (known?.lost && !takeBack) return 'lost';
    this.#hosts.set(host.id, { ...host, beats: (known?.beats ?? 0) + 1, lost: false });
    for (const template of templatesOf(host.description)) this.#templates.set(template.id, template);
    return 'taken';
  }

  override async markLost(hostId: string, beats: number): Promise<boolean> {
    const known = this.#hosts.get(hostId);
    if (!known || known.beats !== beats) return false;
    this.#hosts.set(hostId, { ...known, lost: true });
    return true;
  }

  override async newestTemplate(name: string): Promise<TemplateRecord | null> {
    const named = [...this.#templates.values()].filter((template) => template.name === name);
    return named.sort((a, b) => b.builtAt - a.builtAt || (a.id < b.id ? -1 : 1))[0] ?? null;
  }
}
