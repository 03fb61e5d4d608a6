import { Readable } from 'node:stream';
import { Controller } from '@nestjs/common';
import { limits } from '@alcove/base';
import { Problem, type Consolidation, type Memory, type MemoryAccessPage, type MemoryBlocks, type MemoryEvent, type MemoryEventPage, type MemoryHistory, type MemoryHits, type MemoryPage, type MemoryPolicy, type MemoryRemoved, type MemoryUsage, type Principal } from '@alcove/contracts';
import { actorOf, tenantOf } from '@alcove/identity';
import { MemoryService, type MemoryCaller } from '@alcove/memory';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Asked, Route, type Call } from '../door/route';

const purposeForm = new RegExp(`^[a-z0-9._-]{1,${limits.memory.purposeChars}}$`);
const keyForm = new RegExp(`^[\\x21-\\x7e]{1,${limits.http.idempotencyKeyChars}}$`);

/** `Alcove-Purpose` is what the access log says an access was for. */
function callerOf(principal: Principal, userId: string, request: FastifyRequest): MemoryCaller {
  const purpose = request.headers['alcove-purpose'] ?? 'api';
  if (typeof purpose !== 'string' || !purposeForm.test(purpose)) throw header('alcove-purpose', `1 to ${limits.memory.purposeChars} of a-z, 0-9, . _ -`);
  return { tenantId: tenantOf(principal), userId, actor: actorOf(principal), channel: 'api', purpose };
}

function header(name: string, message: string): Problem {
  return new Problem('request.invalid', { errors: [{ path: `header.${name}`, message }] });
}

/** The version in If-Match: a number, in quotes or not (RFC 9110, 13.1.1). Undefined: none was given. */
function versionOf(request: FastifyRequest): number | undefined {
  const given = request.headers['if-match'];
  if (given === undefined) return undefined;
  const version = /^"?(\d{1,9})"?$/.exec(given)?.[1];
  if (version === undefined) throw header('if-match', 'the version of the record');
  return Number(version);
}

function idempotencyOf(request: FastifyRequest): { idempotencyKey?: string } {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return {};
  if (typeof key !== 'string' || !keyForm.test(key)) throw header('idempotency-key', `1 to ${limits.http.idempotencyKeyChars} visible ASCII characters`);
  return { idempotencyKey: key };
}

function tagged(reply: FastifyReply, memory: Memory): Memory {
  void reply.header('etag', `"${memory.version}"`);
  return memory;
}

function replayed(reply: FastifyReply, repeated: boolean): void {
  if (repeated) void reply.header('idempotent-replayed', 'true');
}

@Controller()
export class MemoryController {
  constructor(private readonly memory: MemoryService) {}

  @Route('addMemory')
  async add(@Asked() { principal, params, body, request, reply }: Call<'addMemory'>): Promise<Memory> {
    const { memory, repeated } = await this.memory.add(callerOf(principal, params.userId, request), body, idempotencyOf(request));
    replayed(reply, repeated);
    return tagged(reply, memory);
  }

  @Route('listMemories')
  list(@Asked() { principal, params, query, request }: Call<'listMemories'>): Promise<MemoryPage> {
    return this.memory.list(callerOf(principal, params.userId, request), query);
  }

  @Route('searchMemory')
  search(@Asked() { principal, params, body, request }: Call<'searchMemory'>): Promise<MemoryHits> {
    return this.memory.search(callerOf(principal, params.userId, request), body);
  }

  @Route('getMemory')
  async get(@Asked() { principal, params, request, reply }: Call<'getMemory'>): Promise<Memory> {
    return tagged(reply, await this.memory.get(callerOf(principal, params.userId, request), params.memoryId));
  }

  @Route('changeMemory')
  async change(@Asked() { principal, params, body, request, reply }: Call<'changeMemory'>): Promise<Memory> {
    const version = versionOf(request);
    if (version === undefined) throw new Problem('memory.version_needed');
    return tagged(reply, await this.memory.change(callerOf(principal, params.userId, request), params.memoryId, version, body));
  }

  @Route('removeMemory')
  remove(@Asked() { principal, params, query, request }: Call<'removeMemory'>): Promise<MemoryRemoved> {
    return this.memory.remove(callerOf(principal, params.userId, request), params.memoryId, query.mode, versionOf(request));
  }

  @Route('memoryHistory')
  history(@Asked() { principal, params, request }: Call<'memoryHistory'>): Promise<MemoryHistory> {
    return this.memory.history(callerOf(principal, params.userId, request), params.memoryId);
  }

  @Route('listBlocks')
  blocks(@Asked() { principal, params, request }: Call<'listBlocks'>): Promise<MemoryBlocks> {
    return this.memory.blocks(callerOf(principal, params.userId, request));
  }

  @Route('getBlock')
  async block(@Asked() { principal, params, request, reply }: Call<'getBlock'>): Promise<Memory> {
    return tagged(reply, await this.memory.block(callerOf(principal, params.userId, request), params.label));
  }

  @Route('setBlock')
  async setBlock(@Asked() { principal, params, body, request, reply }: Call<'setBlock'>): Promise<Memory> {
    return tagged(reply, await this.memory.setBlock(callerOf(principal, params.userId, request), params.label, body, versionOf(request)));
  }

  @Route('removeBlock')
  async removeBlock(@Asked() { principal, params, request }: Call<'removeBlock'>): Promise<void> {
    await this.memory.removeBlock(callerOf(principal, params.userId, request), params.label);
  }

  @Route('addMemoryEvent')
  async addEvent(@Asked() { principal, params, body, request, reply }: Call<'addMemoryEvent'>): Promise<MemoryEvent> {
    const { event, repeated } = await this.memory.addEvent(callerOf(principal, params.userId, request), body, idempotencyOf(request));
    replayed(reply, repeated);
    return event;
  }

  @Route('listMemoryEvents')
  events(@Asked() { principal, params, query, request }: Call<'listMemoryEvents'>): Promise<MemoryEventPage> {
    return this.memory.events(callerOf(principal, params.userId, request), query);
  }

  @Route('removeMemoryEvent')
  removeEvent(@Asked() { principal, params, request }: Call<'removeMemoryEvent'>): Promise<MemoryRemoved> {
    return this.memory.removeEvent(callerOf(principal, params.userId, request), params.eventId);
  }

  @Route('consolidateMemory')
  consolidate(@Asked() { principal, params, request }: Call<'consolidateMemory'>): Promise<Consolidation> {
    return this.memory.consolidate(callerOf(principal, params.userId, request));
  }

  @Route('getConsolidation')
  consolidation(@Asked() { principal, params, request }: Call<'getConsolidation'>): Promise<Consolidation> {
    return this.memory.consolidation(callerOf(principal, params.userId, request), params.consolidationId);
  }

  @Route('exportMemory')
  async export(@Asked() { principal, params, request, reply, signal }: Call<'exportMemory'>): Promise<void> {
    const caller = callerOf(principal, params.userId, request);
    // Asked first, so that what refuses it is a problem and not an answer that ends early.
    await this.memory.usage(caller);
    const lines = Readable.from(untilGone(this.memory.export(caller), signal));
    await reply.header('content-type', 'application/x-ndjson').send(lines);
  }

  @Route('sealMemoryExport')
  async sealedExport(@Asked() { principal, params, body, request, reply }: Call<'sealMemoryExport'>): Promise<void> {
    const caller = callerOf(principal, params.userId, request);
    // Whose memory it is comes before what is wrong with the certificate.
    await this.memory.usage(caller);
    const sealed = await this.memory.sealedExport(caller, body.certificate);
    await reply.header('content-type', 'application/pkcs7-mime; smime-type=authEnveloped-data').send(sealed);
  }

  @Route('memoryUsage')
  usage(@Asked() { principal, params, request }: Call<'memoryUsage'>): Promise<MemoryUsage> {
    return this.memory.usage(callerOf(principal, params.userId, request));
  }

  @Route('memoryAccesses')
  accesses(@Asked() { principal, params, query, request }: Call<'memoryAccesses'>): Promise<MemoryAccessPage> {
    return this.memory.accesses(callerOf(principal, params.userId, request), query);
  }

  @Route('getMemoryPolicy')
  policy(@Asked() { principal, params }: Call<'getMemoryPolicy'>): Promise<MemoryPolicy> {
    return this.memory.policy(principal, params.tenantId);
  }

  @Route('setMemoryPolicy')
  setPolicy(@Asked() { principal, params, body }: Call<'setMemoryPolicy'>): Promise<MemoryPolicy> {
    return this.memory.setPolicy(principal, params.tenantId, body);
  }
}

async function* untilGone(lines: AsyncIterable<string>, signal: AbortSignal): AsyncIterable<string> {
  for await (const line of lines) {
    signal.throwIfAborted();
    yield line;
  }
}
