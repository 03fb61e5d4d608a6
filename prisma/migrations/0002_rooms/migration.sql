-- libs/fleet ------------------------------------------------------------------------------------------------------------------------------
-- Hosts and templates belong to no tenant: no row-level security, and nothing of a tenant in them.

create table host (
  id text primary key,
  description jsonb not null,
  capacity jsonb not null,
  boot_id text not null,
  sequence bigint not null,
  -- Counts every beat that was taken: a lease is judged by whether this still changes.
  beats bigint not null,
  beat_at timestamptz not null,
  lost boolean not null default false
);
grant select, insert, update, delete on host to alcove_app;

-- What any host ever brought: rooms name a template long after.
create table template (
  id text primary key,
  name text not null,
  built_at timestamptz not null,
  clone_safe boolean not null,
  size jsonb not null
);
create index template_name on template (name, built_at desc);
grant select, insert, update on template to alcove_app;

-- libs/rooms ------------------------------------------------------------------------------------------------------------------------------

create table room (
  id text primary key,
  tenant_id uuid not null references tenant,
  user_id text not null,
  state text not null check (state in ('provisioning', 'running', 'hibernating', 'hibernated', 'resuming', 'failed', 'destroying', 'destroyed')),
  state_since timestamptz not null,
  -- The generation at which the state was entered.
  move int not null,
  deadline_at timestamptz check ((deadline_at is not null) = (state in ('provisioning', 'hibernating', 'resuming', 'destroying'))),
  wanted text not null check (wanted in ('available', 'asleep', 'gone')),
  wake_pending boolean not null,
  failures int not null,
  failure jsonb,
  generation int not null,
  event_count int not null,
  incarnation int not null,
  host_id text,
  template text not null,
  template_id text not null,
  size jsonb not null,
  metadata jsonb not null,
  env_names text[] not null,
  env_sealed text,
  has_disk boolean not null,
  store_group text,
  engine text,
  image jsonb,
  image_spent boolean not null,
  sealed_at timestamptz,
  previous jsonb,
  resumed_from text,
  isolation text,
  created_at timestamptz not null,
  foreign key (tenant_id, user_id) references app_user (tenant_id, id)
);
create index room_page on room (tenant_id, created_at, id);
create index room_user on room (tenant_id, user_id) where state <> 'destroyed';
create index room_metadata on room using gin (metadata jsonb_path_ops);
create index room_overdue on room (deadline_at) where deadline_at is not null;
-- Rooms that rest against a wish; the condition is that of RoomsStore.wishing.
create index room_wishing on room (created_at, id)
  where deadline_at is null and state <> 'destroyed' and (wanted = 'gone' or (wanted = 'asleep' and state = 'running') or (wake_pending and state <> 'running'));
select alcove_tenant_table('room', 'select, insert, update');

-- One VM of a room on one host: written before the host hears of it, open until it is known to be gone.
create table incarnation (
  room_id text not null references room,
  incarnation int not null,
  tenant_id uuid not null references tenant,
  host_id text not null,
  phase text not null,
  sequence bigint not null,
  opened_at timestamptz not null,
  closed_at timestamptz,
  reason text,
  primary key (room_id, incarnation)
);
create index incarnation_open on incarnation (host_id) where closed_at is null;
create index incarnation_open_room on incarnation (room_id) where closed_at is null;
select alcove_tenant_table('incarnation', 'select, insert, update');

create table room_event (
  room_id text not null references room,
  number int not null,
  tenant_id uuid not null references tenant,
  event jsonb not null,
  primary key (room_id, number)
);
select alcove_tenant_table('room_event', 'select, insert');
