import { newId } from '@alcove/base';
import {
  type AddMemory, type AddMemoryEvent, type ListMemories, type Memory, type MemoryBlocks, type MemoryEvent, type MemoryHits, type MemoryPage, type MemoryRemoved, type MemoryUsage, Problem,
  type RemoveMemory, type SearchMemory, type SetBlock,
} from '@alcove/contracts';
import type { MemoryCaller, MemoryService } from '@alcove/memory';

const at = '2030-01-01T00:00:00.000Z';

/**
 * A memory without keys, database or index, for tests of what stands in front of `MemoryService`: it keeps what it is given per user, finds what shares a word, and notes
 * every caller.
 */
export class MemoryInRam implements Pick<MemoryService, 'add' | 'get' | 'list' | 'remove' | 'search' | 'blocks' | 'block' | 'setBlock' | 'addEvent' | 'usage'> {
  readonly callers: MemoryCaller[] = [];
  readonly events: MemoryEvent[] = [];
  readonly #records = new Map<string, Memory[]>();

  async add(caller: MemoryCaller, input: AddMemory, _options: { idempotencyKey?: string } = {}): Promise<{ memory: Memory; repeated: boolean }> {
    const memory = this.#made(caller, { ...input, label: null });
    this.#of(caller).unshift(memory);
    return { memory, repeated: false };
  }
  async get(caller: MemoryCaller, id: string): Promise<Memory> {
    const found = this.#of(caller).find((record) => record.id === id);
    if (!found) throw new Problem('memory.not_found');
    return found;
  }
  async list(caller: MemoryCaller, { limit, kind, state }: ListMemories): Promise<MemoryPage> {
    return { memories: this.#of(caller).filter((record) => (kind === undefined || record.kind === kind) && (state === undefined || record.state === state)).slice(0, limit), nextCursor: null };
  }
  async remove(caller: MemoryCaller, id: string, mode: RemoveMemory['mode'], version?: number): Promise<MemoryRemoved> {
    const found = await this.get(caller, id);
    if (version !== undefined && version !== found.version) throw new Problem('memory.changed');
    const records = this.#of(caller);
    if (mode === 'erase') records.splice(records.indexOf(found), 1);
    else records[records.indexOf(found)] = { ...found, state: 'retired' };
    return { mode, ids: [id] };
  }
  async search(caller: MemoryCaller, { query, k }: SearchMemory): Promise<MemoryHits> {
    const words = wordsOf(query);
    const hits = this.#live(caller).filter((memory) => wordsOf(memory.content).some((word) => words.includes(word)));
    return { mode: 'lexical', index: 'sealed', leakage: 'none', space: null, fallback: null, hits: hits.slice(0, k).map((memory) => ({ score: 1, memory })) };
  }
  async blocks(caller: MemoryCaller): Promise<MemoryBlocks> {
    return { blocks: this.#live(caller).filter(({ kind }) => kind === 'block') };
  }
  async block(caller: MemoryCaller, label: string): Promise<Memory> {
    const found = this.#of(caller).find((record) => record.label === label);
    if (!found) throw new Problem('memory.not_found');
    return found;
  }
  async setBlock(caller: MemoryCaller, label: string, input: SetBlock, version?: number): Promise<Memory> {
    const before = this.#of(caller).find((record) => record.label === label);
    if (before?.readOnly && caller.channel === 'room') throw new Problem('memory.read_only');
    if (version !== undefined && version !== (before?.version ?? 0)) throw new Problem('memory.changed');
    const block = { ...this.#made(caller, { kind: 'block', ...input, label }), version: (before?.version ?? 0) + 1, readOnly: input.readOnly };
    this.#records.set(keyOf(caller), [block, ...this.#of(caller).filter((record) => record !== before)]);
    return block;
  }
  async addEvent(caller: MemoryCaller, input: AddMemoryEvent): Promise<{ event: MemoryEvent; repeated: boolean }> {
    this.callers.push(caller);
    const event = { id: newId('mev'), ...input, createdAt: at, expiresAt: at };
    this.events.push(event);
    return { event, repeated: false };
  }
  async usage(caller: MemoryCaller): Promise<MemoryUsage> {
    return { records: this.#of(caller).length, bytes: 0, events: this.events.length, byKind: {}, limits: { records: 1, bytes: 1, events: 1 }, keyVersion: 1 };
  }

  #of(caller: MemoryCaller): Memory[] {
    this.callers.push(caller);
    const known = this.#records.get(keyOf(caller)) ?? [];
    this.#records.set(keyOf(caller), known);
    return known;
  }
  #live(caller: MemoryCaller): Memory[] {
    return this.#of(caller).filter(({ state }) => state === 'live');
  }
  #made(caller: MemoryCaller, given: Partial<Memory> & Pick<Memory, 'kind' | 'content' | 'source' | 'label'>): Memory {
    const rest = { title: null, tags: [], confidence: 1, evidence: [], supersedes: null, validFrom: null, validTo: null, expiresAt: null };
    return { ...rest, ...given, id: newId('mem'), userId: caller.userId, state: 'live', readOnly: false, version: 1, createdAt: at, updatedAt: at };
  }
}

function keyOf({ tenantId, userId }: MemoryCaller): string {
  return `${tenantId}/${userId}`;
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/\p{L}+/gu) ?? [];
}
