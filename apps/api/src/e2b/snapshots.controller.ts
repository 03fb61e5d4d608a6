import { Controller, Inject } from '@nestjs/common';
import type { Log } from '@alcove/base';
import { Problem, roomIdOf, type Snapshot } from '@alcove/contracts';
import { RoomsService } from '@alcove/rooms';
import { Asked, Route, type Call } from '../door/route';
import { LOG } from '../tokens';
import { toE2bError, type E2bError } from './errors';
import { E2bSandboxes } from './sandboxes';
import type { Sandbox } from './shapes';
import { E2bTemplates } from './templates';

interface SnapshotInfo {
  readonly snapshotID: string;
  readonly names: readonly string[];
  readonly warnings?: readonly string[];
}

@Controller()
export class E2bSnapshotsController {
  constructor(
    private readonly rooms: RoomsService,
    private readonly sandboxes: E2bSandboxes,
    private readonly templates: E2bTemplates,
    @Inject(LOG) private readonly log: Log,
  ) {}

  @Route('e2bSnapshot')
  async snapshot(@Asked() { principal, params, body, signal }: Call<'e2bSnapshot'>): Promise<SnapshotInfo> {
    if (body.mode === 'filesystem') throw new Problem('unsupported', { detail: 'Snapshots hold the memory too; one of the disk alone is not served here.' });
    const room = await this.sandboxes.room(principal, params.sandboxId);
    const snapshot = await this.rooms.snapshot(principal, room.id, body.name == null ? {} : { name: body.name }, signal);
    this.#warn(room.id, snapshot.warnings);
    return toInfo(snapshot);
  }

  @Route('e2bFork')
  async fork(@Asked() { principal, params, body, signal }: Call<'e2bFork'>): Promise<({ sandbox: Partial<Sandbox>; warnings?: readonly string[] } | { error: E2bError })[]> {
    const room = await this.sandboxes.room(principal, params.sandboxId);
    const asked = { ...(body.count == null ? {} : { count: body.count }), ...(body.timeout == null ? {} : { timeoutMs: body.timeout * 1000 }) };
    const forks = await this.rooms.fork(principal, room.id, asked, signal);
    const one = async (fork: (typeof forks)[number]) => ('room' in fork ? { sandbox: await this.sandboxes.answer(principal, fork.room), ...toldWith(fork.warnings) } : { error: toE2bError(fork.problem) });
    this.#warn(room.id, forks.flatMap((fork) => ('room' in fork ? fork.warnings : [])));
    return Promise.all(forks.map(one));
  }

  @Route('e2bListSnapshots')
  async list(@Asked() { principal, query, reply }: Call<'e2bListSnapshots'>): Promise<SnapshotInfo[]> {
    const { sandboxID, name, limit, nextToken } = query;
    const roomId = sandboxID === undefined ? undefined : roomIdOf(sandboxID);
    // No snapshot is of what cannot be a sandbox.
    if (roomId === null) return [];
    const page = await this.rooms.snapshots(principal, {
      limit,
      ...(roomId === undefined ? {} : { roomId }),
      ...(name === undefined ? {} : { name: name.replace(/:(default|latest)$/, '') }),
      ...(nextToken === undefined ? {} : { cursor: nextToken }),
    });
    if (page.nextCursor !== null) void reply.header('x-next-token', page.nextCursor);
    return page.snapshots.map(toInfo);
  }

  @Route('e2bRemoveTemplate')
  async remove(@Asked() { principal, params }: Call<'e2bRemoveTemplate'>): Promise<void> {
    const snapshot = await this.templates.snapshot(principal, params.templateId);
    if (snapshot) return this.rooms.removeSnapshot(principal, snapshot.id);
    if (await this.templates.template(principal, params.templateId)) throw new Problem('auth.scope', { detail: 'Templates are the operator’s: no key removes one.' });
    throw new Problem('snapshot.not_found', { detail: `There is no snapshot ${JSON.stringify(params.templateId)}.` });
  }

  /** Once for each: clients of this protocol show nobody what they do not know. */
  #warn(roomId: string, warnings: readonly string[]): void {
    for (const warning of new Set(warnings)) this.log.warn({ roomId, warning }, 'a copy that warns');
  }
}

/** The protocol has no word for warnings: they come beside what it has, and clients pass over them. */
function toldWith(warnings: readonly string[]): { warnings?: readonly string[] } {
  return warnings.length === 0 ? {} : { warnings };
}

/** Its id, which is what `templateID` takes; a name is an alias that the newest of that name has. */
function toInfo(snapshot: Snapshot): SnapshotInfo {
  return { snapshotID: snapshot.id, names: snapshot.name === null ? [] : [snapshot.name], ...toldWith(snapshot.warnings) };
}
