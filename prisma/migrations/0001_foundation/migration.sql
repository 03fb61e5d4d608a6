-- The first tables. The role alcove_app exists already: the migrations runner creates it (libs/db, migrate).
-- Every table with a tenant is made known by alcove_tenant_table(), so that there is one form of the policy and nowhere to forget it.

grant usage on schema public to alcove_app;

-- Forces row-level security on a table: a transaction sees the rows of its own tenant (app.tenant_id), or all rows when it named a system reason (app.system).
-- Forced, because otherwise the owner would be exempt. The sub-selects are evaluated once per statement, not once per row.
create function alcove_tenant_table(target regclass, privileges text default 'select, insert, update, delete', tenant_column name default 'tenant_id') returns void
language plpgsql as $$
declare
  rule text := format(
    '(%I = (select nullif(current_setting(''app.tenant_id'', true), '''')::uuid) or (select current_setting(''app.system'', true)) = ''on'')', tenant_column);
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format('create policy tenant on %s using %s with check %s', target, rule, rule);
  execute format('grant %s on table %s to alcove_app', privileges, target);
end $$;
revoke all on function alcove_tenant_table from public;

-- libs/db ---------------------------------------------------------------------------------------------------------------------------------

-- What must be made a job after the commit: ids only. dispatched_at is set once the queue has taken it.
create table outbox (
  id bigserial primary key,
  tenant_id uuid not null,
  job text not null,
  payload jsonb not null,
  created_at timestamptz not null,
  not_before timestamptz not null,
  dispatched_at timestamptz
);
create index outbox_waiting on outbox (not_before, id) where dispatched_at is null;
create index outbox_dispatched on outbox (dispatched_at) where dispatched_at is not null;
select alcove_tenant_table('outbox');
grant usage on sequence outbox_id_seq to alcove_app;

-- libs/jobs -------------------------------------------------------------------------------------------------------------------------------

create table saga (
  id text primary key,
  tenant_id uuid not null,
  name text not null,
  params jsonb not null,
  state text not null check (state in ('running', 'done', 'undoing', 'undone', 'stuck')),
  step int not null default 0,
  outputs jsonb not null default '{}',
  attempts int not null default 0,
  lease_owner text,
  lease_until timestamptz,
  not_before timestamptz,
  deadline_at timestamptz not null,
  error jsonb,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index saga_open on saga (updated_at, id) where state in ('running', 'undoing');
create index saga_ended on saga (updated_at) where state in ('done', 'undone');
create index saga_tenant on saga (tenant_id, name);
select alcove_tenant_table('saga');

-- libs/audit ------------------------------------------------------------------------------------------------------------------------------

-- The end of each tenant's chain; its row lock puts the writers of one tenant in order.
create table audit_head (
  tenant_id uuid primary key,
  seq bigint not null,
  prev bytea not null,
  hash bytea not null
);
select alcove_tenant_table('audit_head', 'select, insert, update');

create table audit_record (
  tenant_id uuid not null,
  seq bigint not null,
  at timestamptz not null,
  actor text not null,
  action text not null,
  resource text not null,
  facts jsonb not null,
  prev bytea not null,
  hash bytea not null,
  primary key (tenant_id, seq)
);
select alcove_tenant_table('audit_record', 'select, insert');

create function alcove_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'table % is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete or truncate on audit_record for each statement execute function alcove_append_only();

-- libs/identity ---------------------------------------------------------------------------------------------------------------------------

create table tenant (
  id uuid primary key,
  name text not null unique,
  rooms_per_user int not null,
  created_at timestamptz not null
);
create index tenant_order on tenant (created_at, id);
select alcove_tenant_table('tenant', tenant_column => 'id');

create table api_key (
  id text primary key,
  tenant_id uuid not null references tenant,
  name text not null,
  scopes text[] not null,
  rate_per_second int not null,
  concurrent int not null,
  secret_hash bytea not null,
  previous_hash bytea,
  previous_until timestamptz,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz
);
create index api_key_tenant on api_key (tenant_id, created_at, id);
select alcove_tenant_table('api_key');

-- A user is named by its tenant: the id is the tenant's own.
create table app_user (
  tenant_id uuid not null references tenant,
  id text not null,
  state text not null check (state in ('active', 'destroying', 'destroyed')),
  created_at timestamptz not null,
  state_since timestamptz not null,
  primary key (tenant_id, id)
);
create index app_user_destroying on app_user (state_since) where state = 'destroying';
select alcove_tenant_table('app_user');

create table idempotency (
  tenant_id uuid not null, -- all zeros for the platform key
  key_id text not null,
  idempotency_key text not null,
  request_hash bytea not null,
  lease_token text not null,
  lease_until timestamptz not null,
  status int,
  body jsonb,
  expires_at timestamptz not null,
  primary key (tenant_id, key_id, idempotency_key)
);
create index idempotency_expiry on idempotency (expires_at);
select alcove_tenant_table('idempotency');

-- libs/keys -------------------------------------------------------------------------------------------------------------------------------

create table tenant_key (
  tenant_id uuid primary key references tenant,
  wrapped bytea not null,
  root_key_id text not null,
  created_at timestamptz not null
);
select alcove_tenant_table('tenant_key');

-- A destroyed key keeps its row: without the tombstone the next use would make a new key for a user who is gone.
create table user_key (
  tenant_id uuid not null references tenant,
  user_id text not null,
  wrapped bytea,
  created_at timestamptz not null,
  destroyed_at timestamptz,
  primary key (tenant_id, user_id),
  check ((wrapped is null) = (destroyed_at is not null))
);
select alcove_tenant_table('user_key');
