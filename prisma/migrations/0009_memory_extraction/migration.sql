-- The model that reads what was said, where a tenant has one: {baseUrl, model}; its key is beside it, sealed.
alter table memory_policy
  add column extraction jsonb,
  add column extraction_key bytea,
  add column extraction_key_version int;
alter table memory_consolidation add column extraction text not null default 'rules' check (extraction in ('rules', 'model'));
