import type { KeyOwner } from '@alcove/keys';

/**
 * Who asks, for whose memory, through which door. The caller of this lib has decided that it may: an API key's scope, or a room's lease. `room`: what it writes is never
 * labelled as more than the agent's word, and blocks may be read-only to it.
 */
export interface MemoryCaller extends KeyOwner {
  /** As in audit records: `key:…`, `room:…`, `system`. The access log shows it. */
  readonly actor: string;
  readonly channel: 'api' | 'room' | 'system';
  /** What for, in the access log: a short word such as `api` or `agent`; never content. */
  readonly purpose: string;
}
