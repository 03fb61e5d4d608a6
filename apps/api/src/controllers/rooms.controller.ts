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
  wake(@Asked() { principal, params, signal }: Call<'wakeRoom'>): Promise<WakeAnswer> {
    return this.rooms.wake(principal, params.roomId, signal);
  }

  @Route('hibernateRoom')
  hibernate(@Asked() { principal, params, signal }: Call<'hibernateRoom'>): Promise<Room> {
    return this.rooms.hibernate(principal, params.roomId, signal);
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
