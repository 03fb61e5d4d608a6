import { Controller } from '@nestjs/common';
import type { KeyRotation, TenantKeyProvider } from '@alcove/contracts';
import { TenantKeys } from '@alcove/keys';
import { Asked, Route, type Call } from '../door/route';

/** For the operator's key alone. */
@Controller()
export class TenantKeysController {
  constructor(private readonly keys: TenantKeys) {}

  @Route('getKeyProvider')
  get(@Asked() { principal, params }: Call<'getKeyProvider'>): Promise<TenantKeyProvider> {
    return this.keys.get(principal, params.tenantId);
  }

  @Route('setKeyProvider')
  set(@Asked() { principal, params, body }: Call<'setKeyProvider'>): Promise<TenantKeyProvider> {
    return this.keys.set(principal, params.tenantId, body);
  }

  @Route('removeKeyProvider')
  remove(@Asked() { principal, params }: Call<'removeKeyProvider'>): Promise<TenantKeyProvider> {
    return this.keys.remove(principal, params.tenantId);
  }

  @Route('rotateTenantKey')
  rotate(@Asked() { principal, params }: Call<'rotateTenantKey'>): Promise<KeyRotation> {
    return this.keys.rotate(principal, params.tenantId);
  }

  @Route('getKeyRotation')
  rotation(@Asked() { principal, params }: Call<'getKeyRotation'>): Promise<KeyRotation> {
    return this.keys.rotation(principal, params.tenantId, params.rotationId);
  }
}
