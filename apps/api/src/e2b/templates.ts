import { Inject, Injectable } from '@nestjs/common';
import { Problem, isProblem, SnapshotId, TemplateName, type CreateRoom, type Principal, type Snapshot } from '@alcove/contracts';
import { FleetService, type TemplateRecord } from '@alcove/fleet';
import { RoomsService } from '@alcove/rooms';
import { E2B_SETTINGS, type E2bSettings } from './settings';

/** What a new room starts from, and whose it must be then. */
export type Start = { readonly template: string; readonly snapshot?: never } | { readonly template?: never; readonly snapshot: Snapshot };

/** A template that was never named by a tag has the tag that E2B gives by itself; other tags are not kept here. */
const tagged = /^(?<name>[^:]+)(?::(?<tag>default|latest))?$/;

/** What E2B's clients call a template: a name or an id of one, E2B's word for the plain one, or a snapshot, by its id or by its name. */
@Injectable()
export class E2bTemplates {
  constructor(
    private readonly rooms: RoomsService,
    private readonly fleet: FleetService,
    @Inject(E2B_SETTINGS) private readonly settings: E2bSettings,
  ) {}

  /** Throws template.not_found. */
  async start(principal: Principal, asked: string): Promise<Start> {
    const template = await this.template(asked);
    if (template) return { template: template.name };
    const snapshot = await this.snapshot(principal, asked);
    if (snapshot) return { snapshot };
    throw new Problem('template.not_found', { detail: `There is no template ${JSON.stringify(asked)}, and no snapshot of that name.` });
  }

  /** Null when no host has brought such a one. */
  async template(asked: string): Promise<TemplateRecord | null> {
    const name = tagged.exec(asked)?.groups?.['name'];
    if (name === undefined) return null;
    const templates = await this.fleet.templates();
    const byId = templates.find(({ id }) => id === name);
    if (byId) return byId;
    const known = TemplateName.safeParse(this.settings.aliases[name] ?? name);
    if (!known.success) return null;
    // The view of the hosts may be older than the template.
    return templates.find((one) => one.name === known.data) ?? (await this.fleet.template(known.data).catch(orNull));
  }

  /** The newest of that name, or the one of that id; null when there is none. */
  async snapshot(principal: Principal, asked: string): Promise<Snapshot | null> {
    const name = tagged.exec(asked)?.groups?.['name'];
    if (name === undefined) return null;
    if (!SnapshotId.safeParse(name).success) return (await this.rooms.snapshots(principal, { name: name.slice(0, 128), limit: 1 })).snapshots[0] ?? null;
    return this.rooms.getSnapshot(principal, name).catch(orNull);
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

function orNull(error: unknown): null {
  if (isProblem(error, 'snapshot.not_found') || isProblem(error, 'template.not_found')) return null;
  throw error;
}

/** What of a new room follows from where it starts: a snapshot's room is its user's, whoever else was named. */
export function startFields(start: Start, asked: Pick<CreateRoom, 'userId'>): Pick<CreateRoom, 'userId' | 'template' | 'snapshot'> {
  return start.snapshot ? { userId: start.snapshot.userId, snapshot: start.snapshot.id } : { userId: asked.userId, template: start.template };
}
