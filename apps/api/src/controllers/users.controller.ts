import { Controller } from '@nestjs/common';
import { type DestroyedUser, type Erasure, Problem, type User, type UserKeyRotation, type UserPage } from '@alcove/contracts';
import { IdentityService } from '@alcove/identity';
import { UserRotations } from '@alcove/keys';
import { RoomsService } from '@alcove/rooms';
import { receiptText } from '@alcove/vault';
import { Asked, Route, type Call } from '../door/route';

@Controller()
export class UsersController {
  constructor(
    private readonly identity: IdentityService,
    private readonly rooms: RoomsService,
    private readonly rotations: UserRotations,
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
  destroy(@Asked() { principal, params }: Call<'destroyUser'>): Promise<DestroyedUser> {
    return this.rooms.destroyUser(principal, params.userId);
  }

  @Route('rotateUserKey')
  rotate(@Asked() { principal, params }: Call<'rotateUserKey'>): Promise<UserKeyRotation> {
    return this.rotations.rotate(principal, params.userId);
  }

  @Route('getUserKeyRotation')
  rotation(@Asked() { principal, params }: Call<'getUserKeyRotation'>): Promise<UserKeyRotation> {
    return this.rotations.rotation(principal, params.userId, params.rotationId);
  }

  @Route('getErasure')
  erasure(@Asked() { principal, params }: Call<'getErasure'>): Promise<Erasure> {
    return this.rooms.erasure(principal, params.userId);
  }

  @Route('getReceipt')
  async receipt(@Asked() { principal, params, reply }: Call<'getReceipt'>): Promise<string> {
    const { receipt } = await this.rooms.erasure(principal, params.userId);
    if (receipt === null) throw new Problem('erasure.not_found', { detail: 'The erasure is not done yet.' });
    void reply.type('application/json').header('content-disposition', `attachment; filename="receipt-${receipt.receipt.id}.json"`);
    return receiptText(receipt);
  }
}
