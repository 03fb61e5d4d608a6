import { type Principal, Problem, type Scope } from '@alcove/contracts';

/** The principal's name in audit records. */
export function actorOf(principal: Principal): string {
  return principal.kind === 'key' ? `key:${principal.keyId}` : principal.kind;
}

/** The tenant that a principal acts for. Problem `auth.scope` for the operator's key, which sees no tenant's rooms. */
export function tenantOf(principal: Principal): string {
  if (principal.tenantId === null) throw new Problem('auth.scope', { detail: "The operator's key cannot act for a tenant." });
  return principal.tenantId;
}

/** Problem `auth.scope` unless the principal has the scope. */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.kind !== 'system' && !principal.scopes.includes(scope)) throw new Problem('auth.scope', { detail: `This needs the scope ${scope}.` });
}
