import type { MemoryPolicies } from '../policy';
import type { Fetch } from '../endpoint';
import { EmbeddingsClient } from './embeddings';

export interface Embedded {
  readonly space: string;
  readonly vectors: Float32Array[];
}

/** Embeds for a tenant as its policy says. */
export class Embedder {
  constructor(
    private readonly policies: MemoryPolicies,
    private readonly fetcher?: Fetch,
  ) {}

  /** The space that is searched now; null: the tenant has no endpoint. */
  async space(tenantId: string): Promise<string | null> {
    return (await this.#client(tenantId))?.space ?? null;
  }

  /** Null: the tenant has no endpoint. Problem `memory.embeddings`. */
  async embed(tenantId: string, kind: 'document' | 'query', texts: readonly string[]): Promise<Embedded | null> {
    const client = await this.#client(tenantId);
    return client && { space: client.space, vectors: await client.embed(kind, texts) };
  }

  async #client(tenantId: string): Promise<EmbeddingsClient | null> {
    const policy = await this.policies.of(tenantId);
    return policy.embeddings && new EmbeddingsClient(policy.embeddings, () => this.policies.apiKeyOf(tenantId, policy, 'embeddings'), this.fetcher);
  }
}
