import { Inject, Injectable } from '@nestjs/common';
import type { Log } from '@alcove/base';
import type { CreateRoom, Principal, Room } from '@alcove/contracts';
import type { Json } from '@alcove/db';
import { IdempotencyKeys, requestHash, type FirstRequest } from '@alcove/identity';
import { RoomsService } from '@alcove/rooms';
import { LOG } from '../tokens';

/** What was asked for, for a repeat to be told from another request. */
export interface AskedOnce {
  readonly idempotencyKey: string | undefined;
  readonly path: string;
  readonly body: unknown;
}

/**
 * Makes rooms that somebody waits for. Whoever goes away before the room runs, or is told that it does not, has no id to find it by: such a room is destroyed at once. A
 * repeat with the same Idempotency-Key gets the same room; only the room's name is kept for it, because the answer holds the sandbox's token.
 */
@Injectable()
export class Creation {
  constructor(
    private readonly rooms: RoomsService,
    private readonly keys: IdempotencyKeys,
    @Inject(LOG) private readonly log: Log,
  ) {}

  /** Resolves when the room runs. Problems: those of RoomsService.create and of wake. */
  async running(principal: Principal, input: CreateRoom, signal: AbortSignal, once: AskedOnce): Promise<Room> {
    const { idempotencyKey } = once;
    if (idempotencyKey === undefined) return this.#make(principal, input, signal, null);
    const hash = requestHash('POST', once.path, once.body as Json);
    const begun = await this.keys.begin({ tenantId: principal.tenantId, keyId: principal.keyId, idempotencyKey, requestHash: hash });
    if (begun.kind === 'replay') return this.rooms.get(principal, (begun.body as { roomId: string }).roomId);
    return this.#first(begun, () => this.#make(principal, input, signal, { idempotencyKey, first: begun }));
  }

  async #first(first: FirstRequest, make: () => Promise<Room>): Promise<Room> {
    let room: Room;
    try {
      room = await make();
    } catch (error) {
      await first.abandon().catch((err: unknown) => this.log.warn({ err }, 'an idempotency key stays taken until its lease ends'));
      throw error;
    }
    await first.finish(201, { roomId: room.id }).catch((err: unknown) => this.log.warn({ err }, 'an answer could not be kept for repeats'));
    return room;
  }

  async #make(principal: Principal, input: CreateRoom, signal: AbortSignal, once: { idempotencyKey: string; first: FirstRequest } | null): Promise<Room> {
    let made = await this.rooms.create(principal, input, once ? { idempotencyKey: once.idempotencyKey } : {});
    // The room that the first request left behind, and that was destroyed for it.
    if (made.wanted === 'gone') made = await this.rooms.create(principal, input);
    try {
      return (await this.rooms.wake(principal, made.id, signal)).room;
    } catch (error) {
      await this.#drop(principal, made.id, signal.aborted ? 'caller_left' : 'not_started', once?.first).catch((err: unknown) => this.log.warn({ err, roomId: made.id }, 'a room that nobody knows of could not be destroyed'));
      throw error;
    }
  }

  /** Not when a repeat of the request waits for the same room by now. */
  async #drop(principal: Principal, roomId: string, reason: string, first: FirstRequest | undefined): Promise<void> {
    if (first && !(await first.holds())) return;
    await this.rooms.destroy(principal, roomId, reason);
  }
}
