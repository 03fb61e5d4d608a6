import { type Clock, limits, systemClock } from '@alcove/base';
import { Problem } from '@alcove/contracts';
import type { Db } from '@alcove/db';

/** A tenant's own name for one version of a template. */
export interface TemplateTag {
  readonly tag: string;
  readonly templateId: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/** The table template_tag: `template:tag` names the version that a tenant gave that tag to, until it gives it to another one. */
export class TemplateTags {
  constructor(
    private readonly db: Db,
    private readonly clock: Clock = systemClock,
  ) {}

  /** Gives the tags to that version, and takes them from any other of that name. Problem `request.invalid` beyond `limits.template.tags` of one tenant. */
  async assign(tenantId: string, template: string, tags: readonly string[], templateId: string): Promise<void> {
    const now = new Date(this.clock.now());
    await this.db.withTenantSql(tenantId, async (tx) => {
      for (const tag of tags) {
        await tx.$executeRaw`
          insert into template_tag (tenant_id, template, tag, template_id, created_at) values (${tenantId}::uuid, ${template}, ${tag}, ${templateId}, ${now}::timestamptz)
          on conflict (tenant_id, template, tag) do update set template_id = excluded.template_id, created_at = excluded.created_at`;
      }
      const [counted] = await tx.$queryRaw<{ tags: number }[]>`select count(*)::int as tags from template_tag where tenant_id = ${tenantId}::uuid`;
      if ((counted?.tags ?? 0) > limits.template.tags) throw new Problem('request.invalid', { detail: `At most ${limits.template.tags} tags in all.` });
    });
  }

  /** A tag that is not there is removed already. */
  async remove(tenantId: string, template: string, tags: readonly string[]): Promise<void> {
    await this.db.withTenantSql(tenantId, async (tx) => {
      for (const tag of tags) await tx.$executeRaw`delete from template_tag where tenant_id = ${tenantId}::uuid and template = ${template} and tag = ${tag}`;
    });
  }

  /** Those of one name, by tag. */
  async list(tenantId: string, template: string): Promise<TemplateTag[]> {
    const rows = await this.db.withTenantSql(
      tenantId,
      async (tx) => tx.$queryRaw<{ tag: string; templateId: string; createdAt: Date }[]>`
        select tag, template_id as "templateId", created_at as "createdAt" from template_tag where tenant_id = ${tenantId}::uuid and template = ${template} order by tag`,
    );
    return rows.map(({ createdAt, ...rest }) => ({ ...rest, createdAt: createdAt.getTime() }));
  }
}
