-- The database of wraps: sealed keys and the ledger of erasures, apart from everything else because its backups and logs are to be kept for a shorter time.
-- The role alcove_app exists already: the migrations runner creates it (libs/db, migrate).

grant usage on schema public to alcove_app;

-- As in the main database (0001_foundation): one form of the policy and nowhere to forget it.
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

-- A tenant's key, wrapped by a provider: the platform's root, or the tenant's own. A retired version keeps its row without the wrap, so that its number is never used again.
create table tenant_kek (
  tenant_id uuid not null,
  version int not null check (version >= 1),
  state text not null check (state in ('active', 'decrypt_only', 'retired')),
  holder text not null check (holder in ('platform', 'tenant')),
  wrapped bytea,
  key_id text not null,
  created_at timestamptz not null,
  retired_at timestamptz,
  primary key (tenant_id, version),
  check ((wrapped is null) = (state = 'retired')),
  check ((retired_at is null) = (state <> 'retired'))
);
create unique index tenant_kek_active on tenant_kek (tenant_id) where state = 'active';
create index tenant_kek_key on tenant_kek (key_id, tenant_id, version) where state <> 'retired';
select alcove_tenant_table('tenant_kek', 'select, insert, update');

-- A user's key, wrapped by a version of the tenant's. A destroyed key keeps its row: without the tombstone the next use would make a new key for a user who is gone.
create table user_dek (
  tenant_id uuid not null,
  user_id text not null,
  version int not null check (version >= 1),
  state text not null check (state in ('active', 'decrypt_only', 'destroyed')),
  kek_version int,
  wrapped bytea,
  created_at timestamptz not null,
  destroyed_at timestamptz,
  primary key (tenant_id, user_id, version),
  foreign key (tenant_id, kek_version) references tenant_kek (tenant_id, version),
  check ((wrapped is null) = (state = 'destroyed')),
  check ((kek_version is null) = (state = 'destroyed')),
  check ((destroyed_at is null) = (state <> 'destroyed'))
);
create unique index user_dek_active on user_dek (tenant_id, user_id) where state = 'active';
create index user_dek_kek on user_dek (tenant_id, kek_version, user_id, version) where wrapped is not null;
select alcove_tenant_table('user_dek', 'select, insert, update');

-- The provider that a tenant brought. Its settings are sealed: they hold credentials.
create table tenant_provider (
  tenant_id uuid primary key,
  kind text not null,
  key_id text not null,
  settings_key bytea not null,
  settings_root_id text not null,
  settings bytea not null,
  state text not null check (state in ('available', 'unreachable', 'revoked')),
  state_since timestamptz not null,
  asked_at timestamptz not null,
  created_at timestamptz not null
);
select alcove_tenant_table('tenant_provider');

-- Who was erased. Written before a key is destroyed, never changed but for the receipt, and kept in the main database too: whichever of the two is restored from a
-- backup, the other one remembers.
create table erasure_ledger (
  tenant_id uuid not null,
  user_id text not null,
  erasure_id text not null,
  requested_at timestamptz not null,
  receipt jsonb,
  primary key (tenant_id, user_id)
);
select alcove_tenant_table('erasure_ledger', 'select, insert, update');

create table rotation (
  id text primary key,
  -- All zeros for the rotation of the root, which is no tenant's.
  tenant_id uuid not null,
  kind text not null check (kind in ('root', 'kek', 'dek')),
  user_id text,
  state text not null check (state in ('running', 'done', 'failed')),
  total bigint not null,
  done bigint not null,
  error text,
  started_at timestamptz not null,
  ended_at timestamptz
);
create index rotation_running on rotation (started_at) where state = 'running';
select alcove_tenant_table('rotation', 'select, insert, update');
