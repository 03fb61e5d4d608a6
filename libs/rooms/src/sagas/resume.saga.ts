import { limits } from '@alcove/base';
import { defineSaga, type Saga } from '@alcove/jobs';
import { MoveParams } from './move';
import type { SagaParts } from './saga-parts';
import { settleFailed, startSteps } from './start';

/** A room's next start: from its image, else its disk, else the image before, as the host finds; a room that has none of them starts as new. */
export function resumeSaga<Scope>(parts: SagaParts<Scope>): Saga<MoveParams> {
  return defineSaga({
    name: 'room.resume',
    params: MoveParams,
    deadlineMs: limits.move.resumeMs,
    steps: startSteps(parts),
    settled: (context) => settleFailed(parts, context),
  });
}
