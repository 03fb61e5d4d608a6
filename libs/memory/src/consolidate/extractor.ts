import type { Fetch } from '../endpoint';
import type { MemoryPolicies } from '../policy';
import { extract, type Proposal } from './extract';
import { ModelExtraction, type SaidEvent } from './model';

export interface Extracted {
  readonly extraction: 'rules' | 'model';
  /** By the event's id. */
  readonly proposals: ReadonlyMap<string, readonly Proposal[]>;
}

/** Finds what is to be remembered as a tenant's policy says: through its model, or by rules when it has none. */
export class Extractor {
  constructor(
    private readonly policies: MemoryPolicies,
    private readonly fetcher?: Fetch,
  ) {}

  /** Problem `memory.model`. */
  async extract(tenantId: string, events: readonly SaidEvent[]): Promise<Extracted> {
    const policy = await this.policies.of(tenantId);
    if (!policy.extraction) return { extraction: 'rules', proposals: new Map(events.map(({ id, said }) => [id, extract(said.content)])) };
    const model = new ModelExtraction(policy.extraction, () => this.policies.apiKeyOf(tenantId, policy, 'extraction'), this.fetcher);
    return { extraction: 'model', proposals: await model.extract(events) };
  }
}
