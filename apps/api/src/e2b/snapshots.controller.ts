import { Controller, Inject } from '@nestjs/common';
import type { Log } from '@alcove/base';
import { Problem, roomIdOf, type Room, type Snapshot } from '@alcove/contracts';
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
    for (const warning of snapshot.warnings) this.log.warn({ roomId: room.id, snapshotId: snapshot.id, warning }, 'a snapshot that warns');
    return toInfo(snapshot);
  }

  @Route('e2bFork')
  async fork(@Asked() { principal, params, body, signal }: Call<'e2bFork'>): Promise<({ sandbox: Partial<Sandbox> } | { error: E2bError })[]> {
    const room = await this.sandboxes.room(principal, params.sandboxId);
    const asked = { ...(body.count == null ? {} : { count: body.count }), ...(body.timeout == null ? {} : { timeoutMs: body.timeout * 1000 }) };
    const forks = await this.rooms.fork(principal, room.id, asked, signal);
    const one = async (fork: { room: Room } | { problem: Problem }) => ('room' in fork ? { sandbox: await this.sandboxes.answer(principal, fork.room) } : { error: toE2bError(fork.problem) });
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
    if (await this.templates.template(params.templateId)) throw new Problem('auth.scope', { detail: 'Templates are the operator’s: no key removes one.' });
    throw new Problem('snapshot.not_found', { detail: `There is no snapshot ${JSON.stringify(params.templateId)}.` });
  }
}

/** Its id, which is what `templateID` takes; a name is an alias that the newest of that name has. */
function toInfo(snapshot: Snapshot): SnapshotInfo {
  return { snapshotID: snapshot.id, names: snapshot.name === null ? [] : [snapshot.name] };
}
