import { limits } from '@alcove/base';
import { defineSaga, type Saga } from '@alcove/jobs';
import { MoveParams } from './move';
import type { SagaParts } from './saga-parts';
import { settleFailed, startSteps } from './start';

/** A new room's first start, from its template. What a failed one leaves on a host is overwritten by the next. */
export function provisionSaga<Scope>(parts: SagaParts<Scope>): Saga<MoveParams> {
  return defineSaga({
    name: 'room.provision',
    params: MoveParams,
    deadlineMs: limits.move.provisionMs,
    steps: startSteps(parts),
    settled: (context) => settleFailed(parts, context),
  });
}
