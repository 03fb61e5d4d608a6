import { Controller } from '@nestjs/common';
import type { Room, RoomPage, WakeAnswer } from '@alcove/contracts';
import { RoomsService } from '@alcove/rooms';
import { Asked, Route, type Call } from '../door/route';

@Controller()
export class RoomsController {
  constructor(private readonly rooms: RoomsService) {}

  @Route('createRoom')
  create(@Asked() { principal, body, request }: Call<'createRoom'>): Promise<Room> {
    const key = request.headers['idempotency-key'];
    return this.rooms.create(principal, body, typeof key === 'string' ? { idempotencyKey: key } : {});
  }

  @Route('listRooms')
  list(@Asked() { principal, query }: Call<'listRooms'>): Promise<RoomPage> {
    return this.rooms.list(principal, query);
  }

  @Route('getRoom')
  get(@Asked() { principal, params }: Call<'getRoom'>): Promise<Room> {
    return this.rooms.get(principal, params.roomId);
  }

  @Route('destroyRoom')
  destroy(@Asked() { principal, params }: Call<'destroyRoom'>): Promise<Room> {
    return this.rooms.destroy(principal, params.roomId);
  }

  @Route('wakeRoom')
  wake(@Asked() { principal, params, body, signal }: Call<'wakeRoom'>): Promise<WakeAnswer> {
    return this.rooms.wake(principal, params.roomId, signal, given(body));
  }

  @Route('hibernateRoom')
  hibernate(@Asked() { principal, params, body, signal }: Call<'hibernateRoom'>): Promise<Room> {
    return this.rooms.hibernate(principal, params.roomId, signal, given(body));
  }

  @Route('setTimeout')
  setTimeout(@Asked() { principal, params, body }: Call<'setTimeout'>): Promise<Room> {
    return this.rooms.setTimeout(principal, params.roomId, body.timeoutMs);
  }

  @Route('setLifecycle')
  setLifecycle(@Asked() { principal, params, body }: Call<'setLifecycle'>): Promise<Room> {
    return this.rooms.setLifecycle(principal, params.roomId, body);
  }

  @Route('setNetwork')
  setNetwork(@Asked() { principal, params, body }: Call<'setNetwork'>): Promise<Room> {
    return this.rooms.setNetwork(principal, params.roomId, body);
  }

  @Route('setMetadata')
  setMetadata(@Asked() { principal, params, body }: Call<'setMetadata'>): Promise<Room> {
    return this.rooms.setMetadata(principal, params.roomId, body);
  }

  @Route('setEnv')
  setEnv(@Asked() { principal, params, body }: Call<'setEnv'>): Promise<Room> {
    return this.rooms.setEnv(principal, params.roomId, body);
  }

  @Route('removeEnv')
  removeEnv(@Asked() { principal, params }: Call<'removeEnv'>): Promise<Room> {
    return this.rooms.removeEnv(principal, params.roomId, params.name);
  }
}

/** What was said; a body is optional where nothing need be. */
function given<T extends object>(body: T | undefined): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(body ?? {}).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
