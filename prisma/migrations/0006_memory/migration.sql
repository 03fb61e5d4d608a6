-- libs/memory: what a user's agent remembers ---------------------------------------------------------------------------------------------------
-- Every bytea here is ciphertext under the user's key, padded to a size bucket where it holds text. Plain are ids, kinds, times, sizes, versions, states and counts.

create table memory_policy (
  tenant_id uuid primary key references tenant,
  -- {baseUrl, model, dimensions, queryPrefix, documentPrefix}; the endpoint's key is beside it, sealed.
  embeddings jsonb,
  api_key bytea,
  api_key_version int,
  index_kind text not null check (index_kind in ('sealed', 'qdrant')),
  records_per_user int not null,
  bytes_per_user bigint not null,
  events_per_user int not null,
  event_retention_ms bigint not null
);
select alcove_tenant_table('memory_policy');

-- One row per user: how much there is, and the sealed digests of all that is sealed together. Its lock puts the writers of one user in order.
create table memory_head (
  tenant_id uuid not null references tenant,
  user_id text not null,
  -- Counts the writes.
  seq bigint not null,
  records int not null,
  bytes bigint not null,
  key_version int not null,
  sealed bytea not null,
  primary key (tenant_id, user_id)
);
select alcove_tenant_table('memory_head');

create table memory_record (
  tenant_id uuid not null references tenant,
  user_id text not null,
  id text not null,
  kind text not null check (kind in ('fact', 'preference', 'episode', 'procedure', 'block')),
  state text not null check (state in ('live', 'retired')),
  version int not null,
  key_version int not null,
  content bytea not null,
  about bytea not null,
  -- HMAC under the user's key of the request that made it: a repeat is known by it.
  request bytea,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  expires_at timestamptz,
  primary key (tenant_id, user_id, id)
);
create index memory_record_page on memory_record (tenant_id, user_id, created_at, id);
create index memory_record_expires on memory_record (expires_at) where expires_at is not null;
create index memory_record_key on memory_record (tenant_id, user_id, key_version);
alter table memory_record alter column content set storage external;
select alcove_tenant_table('memory_record');

-- What a record was before.
create table memory_version (
  tenant_id uuid not null references tenant,
  user_id text not null,
  record_id text not null,
  version int not null,
  state text not null,
  key_version int not null,
  content bytea not null,
  about bytea not null,
  updated_at timestamptz not null,
  primary key (tenant_id, user_id, record_id, version),
  foreign key (tenant_id, user_id, record_id) references memory_record on delete cascade
);
alter table memory_version alter column content set storage external;
select alcove_tenant_table('memory_version');

-- Which records were derived from what: what is erased takes them with it.
create table memory_evidence (
  tenant_id uuid not null references tenant,
  user_id text not null,
  record_id text not null,
  evidence_id text not null,
  primary key (tenant_id, user_id, record_id, evidence_id),
  foreign key (tenant_id, user_id, record_id) references memory_record on delete cascade
);
create index memory_evidence_back on memory_evidence (tenant_id, user_id, evidence_id);
select alcove_tenant_table('memory_evidence');

create table memory_event (
  tenant_id uuid not null references tenant,
  user_id text not null,
  id text not null,
  -- HMAC of the session's name under the user's key: equal within one user only.
  session bytea not null,
  key_version int not null,
  sealed bytea not null,
  request bytea,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  consolidated boolean not null default false,
  primary key (tenant_id, user_id, id)
);
create index memory_event_page on memory_event (tenant_id, user_id, created_at, id);
create index memory_event_expires on memory_event (expires_at);
create index memory_event_waiting on memory_event (tenant_id, user_id, created_at, id) where not consolidated;
alter table memory_event alter column sealed set storage external;
select alcove_tenant_table('memory_event');

-- The streams of the sealed index: `catalogue`, `words`, `vectors/<space>`. An entry is pending (sealed here), placed (in a segment), both (the segment's is older) or removed (neither).
create table memory_entry (
  tenant_id uuid not null references tenant,
  user_id text not null,
  stream text not null,
  record_id text not null,
  seq bigint not null,
  segment int,
  key_version int not null,
  sealed bytea,
  primary key (tenant_id, user_id, stream, record_id)
);
create index memory_entry_loose on memory_entry (tenant_id, user_id, stream, seq) where sealed is not null or segment is null;
create index memory_entry_segment on memory_entry (tenant_id, user_id, stream, segment) where segment is not null;
alter table memory_entry alter column sealed set storage external;
select alcove_tenant_table('memory_entry');

create table memory_segment (
  tenant_id uuid not null references tenant,
  user_id text not null,
  stream text not null,
  number int not null,
  seq bigint not null,
  key_version int not null,
  sealed bytea not null,
  primary key (tenant_id, user_id, stream, number)
);
alter table memory_segment alter column sealed set storage external;
select alcove_tenant_table('memory_segment');

create table memory_access (
  tenant_id uuid not null references tenant,
  user_id text not null,
  number bigserial not null,
  at timestamptz not null,
  actor text not null,
  action text not null,
  purpose text not null,
  records int not null,
  primary key (tenant_id, user_id, number)
);
create index memory_access_old on memory_access (at);
select alcove_tenant_table('memory_access');
grant usage on sequence memory_access_number_seq to alcove_app;

create table memory_consolidation (
  tenant_id uuid not null references tenant,
  user_id text not null,
  id text not null,
  state text not null check (state in ('waiting', 'done', 'failed')),
  read_count int not null,
  added int not null,
  known int not null,
  superseded int not null,
  refused int not null,
  created_at timestamptz not null,
  ended_at timestamptz,
  primary key (tenant_id, user_id, id)
);
create index memory_consolidation_waiting on memory_consolidation (created_at) where state = 'waiting';
select alcove_tenant_table('memory_consolidation');
