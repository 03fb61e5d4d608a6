import { Controller, Inject } from '@nestjs/common';
import type { Clock } from '@alcove/base';
import { Problem, type CreateRoom, type ListRooms, type Room } from '@alcove/contracts';
import { RoomsService } from '@alcove/rooms';
import type { z } from 'zod';
import { idempotencyKeyOf } from '../door/idempotency';
import { Asked, Route, type Call } from '../door/route';
import { CLOCK } from '../tokens';
import { Creation } from './creation';
import { metadataFilter, statesOf, toCreateRoom, toListed, toMetric } from './mapping';
import { E2bSandboxes } from './sandboxes';
import type { ListedSandbox, NewSandbox, Sandbox } from './shapes';
import { E2bTemplates, startFields } from './templates';

const second = 1000;
/** The first version of the protocol gives less time to whoever names none. Seconds. */
const v1Timeout = 15;
/** How much of a list without pages is read: the first version of the protocol has none. */
const v1Pages = 10;
const pageSize = 100;

type Made = Promise<Partial<Sandbox>>;

@Controller()
export class E2bSandboxesController {
  constructor(
    private readonly rooms: RoomsService,
    private readonly sandboxes: E2bSandboxes,
    private readonly templates: E2bTemplates,
    private readonly creation: Creation,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  @Route('e2bCreate')
  create(@Asked() call: Call<'e2bCreate'>): Made {
    return this.#create(call, call.body);
  }

  @Route('e2bCreateV1')
  createV1(@Asked() call: Call<'e2bCreateV1'>): Made {
    return this.#create(call, { ...call.body, timeout: call.body.timeout ?? v1Timeout });
  }

  @Route('e2bList')
  async list(@Asked() { principal, query, reply }: Call<'e2bList'>): Promise<ListedSandbox[]> {
    const { metadata, state, startedAfter, template, order, limit, nextToken } = query;
    const states = (state ?? (['running', 'paused'] as const)).flatMap((one) => [...statesOf[one]]);
    const named = template === undefined ? undefined : await this.templates.template(principal, template);
    // What no template is called, no sandbox was made from.
    if (named === null) return [];
    const page = await this.rooms.list(principal, {
      kind: 'sandbox',
      states: [...new Set(states)],
      order: order === 'asc' ? 'oldest' : 'newest',
      limit,
      ...(metadata === undefined ? {} : { metadata: metadataFilter(metadata) }),
      ...(startedAfter === undefined ? {} : { createdAfter: new Date(startedAfter).toISOString() }),
      ...(named === undefined ? {} : { template: named.name }),
      ...(nextToken === undefined ? {} : { cursor: nextToken }),
    });
    if (page.nextCursor !== null) void reply.header('x-next-token', page.nextCursor);
    return page.rooms.filter(isWanted).map(toListed);
  }

  @Route('e2bListV1')
  async listV1(@Asked() { principal, query }: Call<'e2bListV1'>): Promise<ListedSandbox[]> {
    const asked = { kind: 'sandbox', states: [...statesOf.running], order: 'newest', limit: pageSize, ...(query.metadata === undefined ? {} : { metadata: metadataFilter(query.metadata) }) } satisfies z.input<typeof ListRooms>;
    const found: Room[] = [];
    let page = await this.rooms.list(principal, asked);
    for (let pages = 1; ; pages++) {
      found.push(...page.rooms);
      if (page.nextCursor === null || pages === v1Pages) return found.filter(isWanted).map(toListed);
      page = await this.rooms.list(principal, { ...asked, cursor: page.nextCursor });
    }
  }

  @Route('e2bGet')
  get(@Asked() { principal, params }: Call<'e2bGet'>): Promise<Record<string, unknown>> {
    return this.sandboxes.detail(principal, params.sandboxId);
  }

  @Route('e2bKill')
  kill(@Asked() { principal, params }: Call<'e2bKill'>): Promise<void> {
    return this.sandboxes.kill(principal, params.sandboxId);
  }

  @Route('e2bConnect')
  connect(@Asked() call: Call<'e2bConnect'>): Made {
    return this.#connect(call);
  }

  @Route('e2bConnectV1')
  connectV1(@Asked() call: Call<'e2bConnectV1'>): Made {
    return this.#connect(call);
  }

  @Route('e2bResumeV1')
  resume(@Asked() call: Call<'e2bResumeV1'>): Made {
    return this.#connect(call);
  }

  @Route('e2bPause')
  pause(@Asked() { principal, params, body, signal }: Call<'e2bPause'>): Promise<void> {
    return this.sandboxes.pause(principal, params.sandboxId, body.memory !== false && body.mode !== 'filesystem', signal);
  }

  @Route('e2bTimeout')
  timeout(@Asked() { principal, params, body }: Call<'e2bTimeout'>): Promise<void> {
    return this.sandboxes.setTimeout(principal, params.sandboxId, body.timeout * second);
  }

  @Route('e2bRefreshV1')
  refresh(@Asked() { principal, params, body, signal }: Call<'e2bRefreshV1'>): Promise<void> {
    return this.sandboxes.refresh(principal, params.sandboxId, (body.duration ?? v1Timeout) * second, signal);
  }

  @Route('e2bMetrics')
  async metrics(@Asked() { principal, params, query, signal }: Call<'e2bMetrics'>): Promise<Record<string, unknown>[]> {
    const figures = await this.sandboxes.figures(principal, params.sandboxId, signal);
    const [from, to] = [(query.start ?? 0) * second, ((query.end ?? Math.ceil(this.clock.now() / second)) + 1) * second];
    return figures.filter(({ at }) => Date.parse(at) >= from && Date.parse(at) < to).map(toMetric);
  }

  /** The room's own history: what its processes write is not kept outside of it. */
  @Route('e2bLogsV1')
  async logs(@Asked() { principal, params, query }: Call<'e2bLogsV1'>): Promise<{ logs: unknown[]; logEntries: unknown[] }> {
    const events = await this.sandboxes.events(principal, params.sandboxId, { from: query.start ?? 0, limit: query.limit });
    const entries = events.map(({ at, from, to, reason, type }) => ({ timestamp: at, level: type === 'fallback' ? 'warn' : 'info', message: `${from} → ${to}: ${reason}`, fields: { logger: 'alcove', type } }));
    return { logEntries: entries, logs: entries.map(({ timestamp, level, message, fields }) => ({ timestamp, line: JSON.stringify({ level, message, ...fields }) })) };
  }

  @Route('e2bNetwork')
  network(@Asked() { principal, params, body }: Call<'e2bNetwork'>): Promise<void> {
    return this.sandboxes.setEgress(principal, params.sandboxId, body);
  }

  async #create({ principal, signal, request }: Pick<Call<'e2bCreate'>, 'principal' | 'signal' | 'request'>, asked: NewSandbox): Made {
    const room = toCreateRoom(asked, `e2b:${principal.keyId}`);
    const input: CreateRoom = { ...room, ...startFields(await this.templates.start(principal, asked.templateID, asked.metadata?.['userId'] ?? null), room) };
    return this.sandboxes.answer(principal, await this.creation.running(principal, input, signal, { idempotencyKey: idempotencyKeyOf(request), path: request.url, body: asked }));
  }

  async #connect({ principal, params, body, signal, reply }: Pick<Call<'e2bConnect'>, 'principal' | 'params' | 'body' | 'signal' | 'reply'>): Made {
    const asked = { ...(body.timeout == null ? {} : { timeoutMs: body.timeout * second }), ...(body.memory == null ? {} : { memory: body.memory }) };
    const { room, resumed } = await this.sandboxes.connect(principal, params.sandboxId, asked, signal);
    void reply.code(resumed ? 201 : 200);
    return this.sandboxes.answer(principal, room);
  }
}

function isWanted(room: Room): boolean {
  return room.wanted !== 'gone';
}
