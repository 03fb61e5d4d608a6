-- libs/fleet: names that a tenant gives to versions of templates. A template belongs to no tenant; what one calls it does.

create table template_tag (
  tenant_id uuid not null references tenant,
  template text not null,
  tag text not null,
  template_id text not null references template,
  created_at timestamptz not null,
  primary key (tenant_id, template, tag)
);
select alcove_tenant_table('template_tag');
