-- libs/keys: erasures of users --------------------------------------------------------------------------------------------------------------
-- Wraps of keys have a database of their own now (prisma/keys-migrations); tenant_key and user_key are emptied once their rows were carried over.

-- What is done, and was done, to forget a user. The rows are also this database's half of the ledger: the other half lies with the wraps, and whichever of the two
-- databases is put back from a backup, the other one remembers. `facts` holds no secret.
create table erasure (
  id text primary key,
  tenant_id uuid not null references tenant,
  user_id text not null,
  state text not null check (state in ('destroying_keys', 'purging', 'rewrapping', 'done')),
  actor text not null,
  requested_at timestamptz not null,
  keys_destroyed_at timestamptz,
  ended_at timestamptz,
  saga_id text,
  facts jsonb not null default '{}',
  receipt jsonb,
  unique (tenant_id, user_id),
  check (state <> 'done' or (receipt is not null and ended_at is not null))
);
create index erasure_open on erasure (requested_at, id) where state <> 'done';
select alcove_tenant_table('erasure', 'select, insert, update');
