import { Controller } from '@nestjs/common';
import { Problem } from '@alcove/contracts';
import { tenantOf } from '@alcove/identity';
import { Asked, Route, type Call } from '../door/route';
import { envdVersion } from './mapping';
import { E2bTemplates } from './templates';

@Controller()
export class E2bTemplatesController {
  constructor(private readonly templates: E2bTemplates) {}

  @Route('e2bTemplateAlias')
  async alias(@Asked() { principal, params }: Call<'e2bTemplateAlias'>): Promise<{ templateID: string; public: boolean }> {
    const template = await this.templates.template(principal, params.alias);
    if (!template) throw new Problem('template.not_found', { detail: `There is no template ${JSON.stringify(params.alias)}.` });
    return { templateID: template.id, public: false };
  }

  @Route('e2bTemplatesV1')
  async list(): Promise<Record<string, unknown>[]> {
    return (await this.templates.list()).map(({ id, name, builtAt, size }) => ({
      templateID: id,
      buildID: id,
      buildStatus: 'ready',
      buildCount: 1,
      names: [name],
      aliases: this.templates.aliasesOf(name),
      public: false,
      cpuCount: size.vcpus,
      memoryMB: size.memoryMiB,
      diskSizeMB: size.diskMiB,
      envdVersion,
      createdAt: new Date(builtAt).toISOString(),
      updatedAt: new Date(builtAt).toISOString(),
      createdBy: null,
      lastSpawnedAt: null,
      spawnCount: 0,
    }));
  }

  @Route('e2bTag')
  async tag(@Asked() { principal, body }: Call<'e2bTag'>): Promise<{ buildID: string; tags: string[] }> {
    const { id } = await this.templates.tag(principal, body.target, body.tags);
    return { buildID: id, tags: body.tags };
  }

  @Route('e2bUntag')
  untag(@Asked() { principal, body }: Call<'e2bUntag'>): Promise<void> {
    return this.templates.untag(principal, body.name, body.tags);
  }

  @Route('e2bTags')
  async tags(@Asked() { principal, params }: Call<'e2bTags'>): Promise<{ tag: string; buildID: string; createdAt: string }[]> {
    return (await this.templates.tagsOf(principal, params.templateId)).map(({ tag, templateId, createdAt }) => ({ tag, buildID: templateId, createdAt: new Date(createdAt).toISOString() }));
  }

  /** A key is of one tenant. The key itself is not shown again. */
  @Route('e2bTeamsV1')
  teams(@Asked() { principal }: Call<'e2bTeamsV1'>): { teamID: string; name: string; apiKey: string; isDefault: boolean }[] {
    const tenantId = tenantOf(principal);
    return [{ teamID: tenantId, name: tenantId, apiKey: '', isDefault: true }];
  }
}
