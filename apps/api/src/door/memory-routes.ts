import {
  AddMemory, AddMemoryEvent, ChangeMemory, Consolidation, ListMemories, ListMemoryAccesses, ListMemoryEvents, Memory, MemoryAccessPage, MemoryBlocks, MemoryEvent, MemoryEventPage, MemoryHistory,
  MemoryHits, MemoryPage, MemoryPolicy, MemoryRemoved, MemoryUsage, RemoveMemory, SealMemoryExport, SearchMemory, SetBlock, SetMemoryPolicy, type ProblemCode,
} from '@alcove/contracts';
import type { RouteSpec } from './route';

/** A user's memory. Every answer is of what only that user's key opens; the operator's key opens none of it. */
const sealed: ProblemCode[] = ['user.not_found', 'user.gone', 'vault.key_unavailable', 'vault.corrupt', 'memory.rolled_back'];
const aRecord: ProblemCode[] = [...sealed, 'memory.not_found'];
const aWrite: ProblemCode[] = ['memory.untrusted', 'memory.quota'];
/** Not the door's: what it stores of an answer for repeats would be content in the clear. A repeat is known by the record's own id instead, as long as the record is there. */
const repeats = 'Takes an `Idempotency-Key`: a repeat is answered with what the first one made, as it is now, with `Idempotent-Replayed: true`.';
const ifMatch = 'Needs `If-Match` with the version that is meant.';

export const memoryRoutes = {
  addMemory: {
    method: 'POST', path: '/v1/users/:userId/memory', tag: 'Memory', summary: 'Remember something', description: repeats, access: 'memory:write',
    body: { json: AddMemory }, answer: { status: 201, description: 'The record', schema: Memory }, problems: [...sealed, ...aWrite, 'request.idempotency_reused'],
  },
  listMemories: {
    method: 'GET', path: '/v1/users/:userId/memory', tag: 'Memory', summary: 'List records', description: 'The newest first, retired ones too.', access: 'memory:read',
    query: ListMemories, answer: { status: 200, description: 'A page of records', schema: MemoryPage }, problems: sealed,
  },
  searchMemory: {
    method: 'POST', path: '/v1/users/:userId/memory/search', tag: 'Memory', summary: 'Search', access: 'memory:read',
    description: 'The answer says how it was made (`mode`), where the vectors lie (`index`) and what that place learns of them (`leakage`).',
    body: { json: SearchMemory }, answer: { status: 200, description: 'The best first', schema: MemoryHits }, problems: sealed,
  },
  listBlocks: {
    method: 'GET', path: '/v1/users/:userId/memory/blocks', tag: 'Memory', summary: 'What is to stand in every prompt', access: 'memory:read',
    answer: { status: 200, description: 'The blocks, by label', schema: MemoryBlocks }, problems: sealed,
  },
  getBlock: {
    method: 'GET', path: '/v1/users/:userId/memory/blocks/:label', tag: 'Memory', summary: 'Get a block', access: 'memory:read',
    answer: { status: 200, description: 'The block', schema: Memory }, problems: aRecord,
  },
  setBlock: {
    method: 'PUT', path: '/v1/users/:userId/memory/blocks/:label', tag: 'Memory', summary: 'Set a block', description: 'With `If-Match`, only when it has that version; 0: only when there is none.', access: 'memory:write',
    body: { json: SetBlock }, answer: { status: 200, description: 'The block', schema: Memory }, problems: [...sealed, ...aWrite, 'memory.changed'],
  },
  removeBlock: {
    method: 'DELETE', path: '/v1/users/:userId/memory/blocks/:label', tag: 'Memory', summary: 'Erase a block', access: 'memory:write',
    answer: { status: 204, description: 'It is gone' }, problems: aRecord,
  },
  addMemoryEvent: {
    method: 'POST', path: '/v1/users/:userId/memory/events', tag: 'Memory', summary: 'Note what was said', description: `It expires by itself. ${repeats}`, access: 'memory:write',
    body: { json: AddMemoryEvent }, answer: { status: 201, description: 'The event', schema: MemoryEvent }, problems: [...sealed, 'memory.quota', 'request.idempotency_reused'],
  },
  listMemoryEvents: {
    method: 'GET', path: '/v1/users/:userId/memory/events', tag: 'Memory', summary: 'List what was said', description: 'The newest first.', access: 'memory:read',
    query: ListMemoryEvents, answer: { status: 200, description: 'A page of events', schema: MemoryEventPage }, problems: sealed,
  },
  removeMemoryEvent: {
    method: 'DELETE', path: '/v1/users/:userId/memory/events/:eventId', tag: 'Memory', summary: 'Erase an event, and what was derived from it', access: 'memory:write',
    answer: { status: 200, description: 'All that went', schema: MemoryRemoved }, problems: aRecord,
  },
  consolidateMemory: {
    method: 'POST', path: '/v1/users/:userId/memory/consolidations', tag: 'Memory', summary: 'Make records of what was said', description: 'A job: what was said and not looked at yet is. What nobody trusted said becomes no block and no procedure.', access: 'memory:write',
    answer: { status: 202, description: 'The job', schema: Consolidation }, problems: sealed,
  },
  getConsolidation: {
    method: 'GET', path: '/v1/users/:userId/memory/consolidations/:consolidationId', tag: 'Memory', summary: 'How a consolidation goes', access: 'memory:read',
    answer: { status: 200, description: 'The job', schema: Consolidation }, problems: aRecord,
  },
  exportMemory: {
    method: 'GET', path: '/v1/users/:userId/memory/export', tag: 'Memory', summary: 'Everything, as JSON lines', description: 'In the clear. An answer that ends early has no line `{"end": true}`.', access: 'memory:read',
    answer: { status: 200, description: 'One JSON object per line', type: 'application/x-ndjson' }, problems: sealed,
  },
  sealMemoryExport: {
    method: 'POST', path: '/v1/users/:userId/memory/export', tag: 'Memory', summary: 'Everything, sealed to a certificate', description: 'CMS AuthEnvelopedData, DER: `openssl cms -decrypt -inform DER` of OpenSSL 3 opens it. Inside are the lines of the plain export. At most 64 MiB.',
    access: 'memory:read', body: { json: SealMemoryExport }, answer: { status: 200, description: 'The sealed export', type: 'application/pkcs7-mime' }, problems: [...sealed, 'request.too_large'],
  },
  memoryUsage: {
    method: 'GET', path: '/v1/users/:userId/memory/usage', tag: 'Memory', summary: 'How much there is, and how much there may be', access: 'memory:read',
    answer: { status: 200, description: 'Counts', schema: MemoryUsage }, problems: sealed,
  },
  memoryAccesses: {
    method: 'GET', path: '/v1/users/:userId/memory/accesses', tag: 'Memory', summary: 'Who looked and wrote, when and what for', description: 'The newest first. Lines are kept for 90 days.', access: 'memory:read',
    query: ListMemoryAccesses, answer: { status: 200, description: 'A page of the log', schema: MemoryAccessPage }, problems: sealed,
  },
  getMemory: {
    method: 'GET', path: '/v1/users/:userId/memory/:memoryId', tag: 'Memory', summary: 'Get a record', access: 'memory:read',
    answer: { status: 200, description: 'The record; its version also as ETag', schema: Memory }, problems: aRecord,
  },
  changeMemory: {
    method: 'PUT', path: '/v1/users/:userId/memory/:memoryId', tag: 'Memory', summary: 'Change a record', description: `What is left out stays as it is. ${ifMatch}`, access: 'memory:write',
    body: { json: ChangeMemory }, answer: { status: 200, description: 'The record', schema: Memory }, problems: [...aRecord, ...aWrite, 'memory.changed', 'memory.version_needed'],
  },
  removeMemory: {
    method: 'DELETE', path: '/v1/users/:userId/memory/:memoryId', tag: 'Memory', summary: 'Retire or erase a record', description: 'Erasing takes its versions and all that was derived from it. With `If-Match`, only when it has that version.', access: 'memory:write',
    query: RemoveMemory, answer: { status: 200, description: 'All that went', schema: MemoryRemoved }, problems: [...aRecord, 'memory.changed'],
  },
  memoryHistory: {
    method: 'GET', path: '/v1/users/:userId/memory/:memoryId/history', tag: 'Memory', summary: 'What a record was before', description: 'The newest version first; the last 32 are kept.', access: 'memory:read',
    answer: { status: 200, description: 'Its versions', schema: MemoryHistory }, problems: aRecord,
  },
  getMemoryPolicy: {
    method: 'GET', path: '/v1/tenants/:tenantId/memory', tag: 'Tenants', summary: "A tenant's endpoints, index and quotas", access: 'platform',
    answer: { status: 200, description: 'The policy, without the key of the endpoint', schema: MemoryPolicy }, problems: ['tenant.not_found'],
  },
  setMemoryPolicy: {
    method: 'PUT', path: '/v1/tenants/:tenantId/memory', tag: 'Tenants', summary: "Settle a tenant's endpoints for embeddings and extraction, index and quotas", access: 'platform',
    description: "The endpoint is asked from inside the platform's network and sees plain text, so the operator settles it. Vectors of another space are made anew by jobs. A key that is not given stays while the address does.",
    body: { json: SetMemoryPolicy }, answer: { status: 200, description: 'The policy', schema: MemoryPolicy }, problems: ['tenant.not_found', 'vault.key_unavailable'],
  },
} as const satisfies Record<string, RouteSpec>;
