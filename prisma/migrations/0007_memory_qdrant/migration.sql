-- libs/memory: what of a user's memory lies in Qdrant --------------------------------------------------------------------------------------------
-- Written before the first point is sent, removed after the last one is gone. Where the points are is plain: they must be found when the user's key is destroyed.

create table memory_qdrant (
  tenant_id uuid not null references tenant,
  user_id text not null,
  -- What every point of this user, space and key version has in its payload.
  tag uuid not null,
  collection text not null,
  shard_key text not null,
  space text not null,
  key_version int not null,
  -- Numbers of a vector; 0 before the first.
  size int not null default 0,
  -- The write of the user up to which the points are known to be right, and how many there are then; -1: they are not known to be right.
  seq bigint not null default -1,
  points int not null default 0,
  -- Nothing is sent any more: the points are to go.
  leaving boolean not null default false,
  -- Until then a process may be sending.
  busy_until timestamptz,
  primary key (tenant_id, user_id, tag)
);
select alcove_tenant_table('memory_qdrant');
