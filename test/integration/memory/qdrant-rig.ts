import { Secret } from '@alcove/base';
import { SetMemoryPolicy } from '@alcove/contracts';
import { type MemoryCaller, type MemoryService, type MemoryServiceParts, QdrantPoints } from '@alcove/memory';
import { EmbeddingsEmulator, QdrantEmulator } from '@alcove/testing';
import { asOwner, testClock, type TestClock } from '../db/database';
import { fact, memoryRig, type MemoryRig, operator } from './rig';

const meanings = Array.from({ length: 32 }, (_, index) => [`topic${String(index).padStart(2, '0')}`]);

/** Memory whose tenants may have their vectors in a Qdrant, which is emulated, as is the embeddings endpoint. */
export class QdrantRig {
  readonly clock: TestClock = testClock();
  rig!: MemoryRig;
  qdrant!: QdrantEmulator;
  embeddings!: EmbeddingsEmulator;
  baseUrl = '';
  memory!: MemoryService;
  ann!: MemoryCaller;
  /** A process that knows of no Qdrant: what it answers is the truth. */
  sealed!: MemoryService;

  async open(): Promise<void> {
    this.rig = await memoryRig(this.clock);
    this.embeddings = new EmbeddingsEmulator(meanings, { dimensions: 32 });
    this.baseUrl = await this.embeddings.listen();
    this.sealed = this.rig.service();
  }

  /** For each test: a server, a tenant whose policy says `qdrant`, a process. */
  async renew({ clustered = false } = {}): Promise<void> {
    this.qdrant = await QdrantEmulator.start({ apiKey: 'key of qdrant', clustered });
    this.memory = this.service();
    this.ann = await this.rig.caller();
    await this.policy('qdrant');
  }

  service(parts: Partial<MemoryServiceParts> = {}): MemoryService {
    return this.rig.service({ qdrant: new QdrantPoints({ url: this.qdrant.url, apiKey: new Secret('key of qdrant') }), ...parts });
  }

  async policy(index: 'sealed' | 'qdrant', model = 'm-1', service = this.memory): Promise<void> {
    await service.setPolicy(operator, this.ann.tenantId, SetMemoryPolicy.parse({ embeddings: { baseUrl: this.baseUrl, model }, index }));
  }

  /** Records of two topics each, so that every one is near to some and far from others. */
  async fill(count: number, from = 0): Promise<string[]> {
    const ids: string[] = [];
    for (let at = from; at < from + count; at += 100) {
      const inputs = Array.from({ length: Math.min(100, from + count - at) }, (_, index) => {
        const n = at + index;
        return fact(`${topic(n)} ${topic(n)} ${topic(n * 7 + 3)} number ${n}`, { tags: [n % 5 === 0 ? 'fifth' : 'other'] });
      });
      ids.push(...(await this.memory.addMany(this.ann, inputs)).map(({ id }) => id));
    }
    return ids;
  }

  /** Runs the jobs that wait until none does, as a worker; tells how many were for Qdrant. */
  async work(service = this.memory): Promise<number> {
    let indexed = 0;
    for (;;) {
      const jobs = await asOwner<{ id: string; job: string; userId: string }>(`delete from outbox where tenant_id = $1 and job like 'memory.%' returning id, job, payload->>'userId' as "userId"`, [this.ann.tenantId]);
      if (jobs.length === 0) return indexed;
      for (const { job, userId } of jobs) {
        const owner = { tenantId: this.ann.tenantId, userId };
        if (job === 'memory.embed') await service.runEmbedding(owner);
        if (job === 'memory.index') await service.runIndexing(owner);
        indexed += job === 'memory.index' ? 1 : 0;
      }
    }
  }

  rows(): Promise<{ user_id: string; tag: string; seq: string; points: number }[]> {
    return asOwner('select * from memory_qdrant where tenant_id = $1 order by tag', [this.ann.tenantId]);
  }

  async close(): Promise<void> {
    await this.embeddings.close();
    await this.rig.close();
  }
}

export const topic = (n: number): string => `topic${String(n % 32).padStart(2, '0')}`;
