import type { HostRecord, TemplateRecord } from './host';

/** Where hosts are. Also the injection token. Implementations: Postgres and memory, under one contract suite. */
export abstract class HostsStore {
  abstract find(hostId: string): Promise<HostRecord | null>;
  /** Every host that ever beat and was not forgotten. */
  abstract all(): Promise<HostRecord[]>;
  /**
   * Writes a beat and remembers its templates. `overtaken`: the row holds a later beat of this boot. `lost`: the host is marked so and stays so, nothing is
   * written; `takeBack` ends that. `beats` is counted by the store; that of the record is ignored.
   */
  abstract beat(host: HostRecord, takeBack: boolean): Promise<'taken' | 'overtaken' | 'lost'>;
  /** Marks a host as lost if it has not beaten since `beats`; false otherwise. */
  abstract markLost(hostId: string, beats: number): Promise<boolean>;
  /** The newest template of a name. */
  abstract newestTemplate(name: string): Promise<TemplateRecord | null>;
}
