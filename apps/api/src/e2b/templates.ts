import { Inject, Injectable } from '@nestjs/common';
import { limits } from '@alcove/base';
import { Problem, isProblem, SnapshotId, TemplateName, type CreateRoom, type Principal, type Snapshot } from '@alcove/contracts';
import { FleetService, TemplateTags, type TemplateRecord, type TemplateTag } from '@alcove/fleet';
import { tenantOf } from '@alcove/identity';
import { RoomsService } from '@alcove/rooms';
import { E2B_SETTINGS, type E2bSettings } from './settings';

/** Most snapshots of one name that are looked through for whose they are. */
const namesakes = 100;

/** What a new room starts from, and whose it must be then. */
export type Start = { readonly template: string; readonly snapshot?: never } | { readonly template?: never; readonly snapshot: Snapshot };

/** A name without a tag, or with one of those that every template has by itself, is its newest version. */
const tagged = /^(?<name>[^:]+)(?::(?:default|latest|(?<tag>[^:]+)))?$/;
const ownTags: readonly string[] = ['default', 'latest'];

/** What E2B's clients call a template: a name or an id of one, E2B's word for the plain one, or a snapshot, by its id or by its name. */
@Injectable()
export class E2bTemplates {
  constructor(
    private readonly rooms: RoomsService,
    private readonly fleet: FleetService,
    private readonly tags: TemplateTags,
    @Inject(E2B_SETTINGS) private readonly settings: E2bSettings,
  ) {}

  /** `userId`: for whom, where that was said; null: for whoever it belongs to. Problems `template.not_found`, `auth.scope` when it is another user's, `request.invalid` as snapshot(). */
  async start(principal: Principal, asked: string, userId: string | null): Promise<Start> {
    const template = await this.template(principal, asked);
    if (template) return { template: partsOf(asked).tag === undefined ? template.name : template.id };
    const snapshot = await this.snapshot(principal, asked, userId);
    if (snapshot && userId !== null && snapshot.userId !== userId) throw new Problem('auth.scope', { detail: `The snapshot ${snapshot.id} is of another user than ${JSON.stringify(userId)}.` });
    if (snapshot) return { snapshot };
    throw new Problem('template.not_found', { detail: `There is no template ${JSON.stringify(asked)}, and no snapshot of that name.` });
  }

  /** Null when no host has brought such a one. */
  async template(principal: Principal, asked: string): Promise<TemplateRecord | null> {
    const { name, tag } = partsOf(asked);
    if (name === undefined) return null;
    const newest = await this.#newest(name);
    if (tag === undefined || newest === null) return newest;
    const found = (await this.tags.list(tenantOf(principal), newest.name)).find((one) => one.tag === tag);
    // A version that no host has any more cannot be started from.
    return found ? this.fleet.template(found.templateId).catch(orNull) : null;
  }

  async #newest(name: string): Promise<TemplateRecord | null> {
    const templates = await this.fleet.templates();
    const byId = templates.find(({ id }) => id === name);
    if (byId) return byId;
    const known = TemplateName.safeParse(this.settings.aliases[name] ?? name);
    if (!known.success) return null;
    // The view of the hosts may be older than the template.
    return templates.find((one) => one.name === known.data) ?? (await this.fleet.template(known.data).catch(orNull));
  }

  /** Gives tags to the version that `target` (`name`, `name:tag` or an id) names, and resolves with it. Problems `template.not_found`, `request.invalid` (a tag that every template has by itself). */
  async tag(principal: Principal, target: string, tags: readonly string[]): Promise<TemplateRecord> {
    const own = tags.find((tag) => ownTags.includes(tag));
    if (own !== undefined) throw new Problem('request.invalid', { detail: `The tag ${own} is always the newest version's.` });
    const template = await this.#known(principal, target);
    await this.tags.assign(tenantOf(principal), template.name, tags, template.id);
    return template;
  }

  async untag(principal: Principal, name: string, tags: readonly string[]): Promise<void> {
    await this.tags.remove(tenantOf(principal), (await this.#known(principal, name)).name, tags);
  }

  /** With the tag that its newest version has by itself. */
  async tagsOf(principal: Principal, asked: string): Promise<TemplateTag[]> {
    const { name } = await this.#known(principal, asked);
    const newest = await this.#known(principal, name);
    return [{ tag: 'default', templateId: newest.id, createdAt: newest.builtAt }, ...(await this.tags.list(tenantOf(principal), name))];
  }

  async #known(principal: Principal, asked: string): Promise<TemplateRecord> {
    const template = await this.template(principal, asked);
    if (!template) throw new Problem('template.not_found', { detail: `There is no template ${JSON.stringify(asked)}.` });
    return template;
  }

  /**
   * The newest of that name (of that user's, where one is said), or the one of that id; null when there is none. Names are not unique: Problem `request.invalid` when several users
   * have one of that name and nobody said whose is meant.
   */
  async snapshot(principal: Principal, asked: string, userId: string | null = null): Promise<Snapshot | null> {
    const { name, tag } = partsOf(asked);
    if (name !== undefined && tag === undefined && SnapshotId.safeParse(name).success) return this.rooms.getSnapshot(principal, name).catch(orNull);
    const plain = name !== undefined && tag === undefined ? [name] : [];
    for (const known of new Set([asked, ...plain])) {
      const found = await this.#named(principal, known, userId);
      if (found) return found;
    }
    return null;
  }

  async #named(principal: Principal, name: string, userId: string | null): Promise<Snapshot | null> {
    if (name.length > limits.room.snapshotNameChars) return null;
    const { snapshots } = await this.rooms.snapshots(principal, { name, ...(userId === null ? {} : { userId }), limit: namesakes });
    if (snapshots.some((one) => one.userId !== snapshots[0]?.userId)) throw new Problem('request.invalid', { detail: `Several users have a snapshot ${JSON.stringify(name)}: use its id, or say whose with metadata.userId.` });
    return snapshots[0] ?? null;
  }

  /** The newest of each name. */
  async list(): Promise<readonly TemplateRecord[]> {
    const templates = await this.fleet.templates();
    return templates.filter(({ id, name }) => templates.find((one) => one.name === name)?.id === id);
  }

  aliasesOf(template: string): string[] {
    return [template, ...Object.entries(this.settings.aliases).filter(([, name]) => name === template).map(([alias]) => alias)];
  }
}

function partsOf(asked: string): { name?: string; tag?: string } {
  const { name, tag } = tagged.exec(asked)?.groups ?? {};
  return { ...(name !== undefined && { name }), ...(tag !== undefined && { tag }) };
}

function orNull(error: unknown): null {
  if (isProblem(error, 'snapshot.not_found') || isProblem(error, 'template.not_found')) return null;
  throw error;
}

/** What of a new room follows from where it starts: a snapshot's room is its user's, whoever else was named. */
export function startFields(start: Start, asked: Pick<CreateRoom, 'userId'>): Pick<CreateRoom, 'userId' | 'template' | 'snapshot'> {
  return start.snapshot ? { userId: start.snapshot.userId, snapshot: start.snapshot.id } : { userId: asked.userId, template: start.template };
}
