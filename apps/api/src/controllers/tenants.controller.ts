import { Controller } from '@nestjs/common';
import type { ApiKey, NewApiKey, Tenant, TenantPage } from '@alcove/contracts';
import { IdentityService } from '@alcove/identity';
import { Asked, Route, type Call } from '../door/route';

/** For the operator's key alone. */
@Controller()
export class TenantsController {
  constructor(private readonly identity: IdentityService) {}

  @Route('createTenant')
  create(@Asked() { principal, body }: Call<'createTenant'>): Promise<Tenant> {
    return this.identity.createTenant(principal, body);
  }

  @Route('listTenants')
  list(@Asked() { principal, query }: Call<'listTenants'>): Promise<TenantPage> {
    return this.identity.listTenants(principal, query);
  }

  @Route('getTenant')
  get(@Asked() { principal, params }: Call<'getTenant'>): Promise<Tenant> {
    return this.identity.getTenant(principal, params.tenantId);
  }

  @Route('changeTenant')
  change(@Asked() { principal, params, body }: Call<'changeTenant'>): Promise<Tenant> {
    return this.identity.changeTenant(principal, params.tenantId, body);
  }

  @Route('createKey')
  createKey(@Asked() { principal, params, body }: Call<'createKey'>): Promise<NewApiKey> {
    return this.identity.createKey(principal, params.tenantId, body);
  }

  @Route('listKeys')
  async listKeys(@Asked() { principal, params }: Call<'listKeys'>): Promise<{ keys: ApiKey[] }> {
    return { keys: await this.identity.listKeys(principal, params.tenantId) };
  }

  @Route('rotateKey')
  rotateKey(@Asked() { principal, params, body }: Call<'rotateKey'>): Promise<NewApiKey> {
    return this.identity.rotateKey(principal, params.tenantId, params.keyId, body);
  }

  @Route('revokeKey')
  async revokeKey(@Asked() { principal, params }: Call<'revokeKey'>): Promise<void> {
    await this.identity.revokeKey(principal, params.tenantId, params.keyId);
  }
}
