-- libs/rooms: how a room ends by itself, copies of rooms, snapshots -------------------------------------------------------------------------
-- Rooms that exist already get what a user's own room always had: it stays, and sleeps with its memory.

alter table room
  add column kind text not null default 'room' check (kind in ('room', 'sandbox', 'snapshot')),
  add column lifecycle jsonb not null default '{"timeoutMs": null, "onTimeout": "pause", "keepMemory": true, "autoResume": true}',
  add column ends_at timestamptz,
  add column network jsonb not null
    default '{"allowPublicTraffic": false, "maskRequestHost": null, "allowInternetAccess": null, "allowOut": [], "denyOut": [], "rules": {}, "egressProxy": null}',
  -- The next start goes from the disk, though there is an image.
  add column boot_next boolean not null default false,
  -- Rooms that are being made as copies of this one: while there are any it sleeps, and its image and disk stay as they are.
  add column holders text[] not null default '{}',
  -- What it is a copy of: {roomId, fresh}.
  add column origin jsonb,
  -- Why it is gone or going: {reason, at}.
  add column ending jsonb,
  add column snapshot_name text;

create index room_ends on room (ends_at) where ends_at is not null;
create index room_held on room (id) where cardinality(holders) > 0;
create index room_snapshots on room (tenant_id, created_at, id) where kind = 'snapshot' and state <> 'destroyed';
-- Rooms that rest against a wish; the condition is that of RoomsStore.wishing.
drop index room_wishing;
create index room_wishing on room (created_at, id)
  where deadline_at is null and state <> 'destroyed'
    and (wanted = 'gone' or (wanted = 'asleep' and state = 'running') or (cardinality(holders) > 0 and state = 'running') or (wake_pending and state <> 'running'));

-- libs/identity: what a tenant's plan allows, and what its rooms get where their maker says nothing -----------------------------------------

alter table tenant
  add column sandboxes_per_user int not null default 100,
  add column lifecycles jsonb not null default '{}';
