-- Why a room may not run, whatever is wanted of it: it is put to sleep, and wakes of it are refused until the reason is gone.
alter table room add column hold text check (hold in ('key_unavailable'));
create index room_on_hold on room (tenant_id, id) where hold is not null;
create index room_off_hold on room (tenant_id, id) where hold is null and state <> 'destroyed';
-- The condition is that of RoomsStore.wishing.
drop index room_wishing;
create index room_wishing on room (created_at, id)
  where deadline_at is null and state <> 'destroyed'
    and (wanted = 'gone' or (state = 'running' and (wanted = 'asleep' or cardinality(holders) > 0 or hold is not null)) or (wake_pending and state <> 'running' and hold is null));
