import { Controller } from '@nestjs/common';
import type { Snapshot, SnapshotPage } from '@alcove/contracts';
import { RoomsService } from '@alcove/rooms';
import type { z } from 'zod';
import { Asked, Route, type Call } from '../door/route';
import type { Forks } from '../door/routes';

/** Copies of rooms: kept, or going on at once. */
@Controller()
export class SnapshotsController {
  constructor(private readonly rooms: RoomsService) {}

  @Route('takeSnapshot')
  take(@Asked() { principal, params, body, signal }: Call<'takeSnapshot'>): Promise<Snapshot> {
    return this.rooms.snapshot(principal, params.roomId, body, signal);
  }

  @Route('listSnapshots')
  list(@Asked() { principal, query }: Call<'listSnapshots'>): Promise<SnapshotPage> {
    return this.rooms.snapshots(principal, query);
  }

  @Route('getSnapshot')
  get(@Asked() { principal, params }: Call<'getSnapshot'>): Promise<Snapshot> {
    return this.rooms.getSnapshot(principal, params.snapshotId);
  }

  @Route('removeSnapshot')
  async remove(@Asked() { principal, params }: Call<'removeSnapshot'>): Promise<void> {
    await this.rooms.removeSnapshot(principal, params.snapshotId);
  }

  @Route('forkRoom')
  async fork(@Asked() { principal, params, body, signal }: Call<'forkRoom'>): Promise<z.infer<typeof Forks>> {
    const forks = await this.rooms.fork(principal, params.roomId, body, signal);
    return {
      forks: forks.map((fork) => {
        if ('room' in fork) return { room: fork.room, warnings: [...fork.warnings] };
        const { code, title, status, detail } = fork.problem.toBody();
        return { problem: { code, title, status, ...(detail === undefined ? {} : { detail }) } };
      }),
    };
  }
}
