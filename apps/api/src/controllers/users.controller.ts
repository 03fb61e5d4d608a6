import { Controller } from '@nestjs/common';
import type { User, UserPage } from '@alcove/contracts';
import { IdentityService } from '@alcove/identity';
import { RoomsService } from '@alcove/rooms';
import { Asked, Route, type Call } from '../door/route';

@Controller()
export class UsersController {
  constructor(
    private readonly identity: IdentityService,
    private readonly rooms: RoomsService,
  ) {}

  @Route('listUsers')
  list(@Asked() { principal, query }: Call<'listUsers'>): Promise<UserPage> {
    return this.identity.listUsers(principal, query);
  }

  @Route('getUser')
  get(@Asked() { principal, params }: Call<'getUser'>): Promise<User> {
    return this.identity.getUser(principal, params.userId);
  }

  @Route('destroyUser')
  destroy(@Asked() { principal, params }: Call<'destroyUser'>): Promise<User> {
    return this.rooms.destroyUser(principal, params.userId);
  }
}
