import type { Saga } from '@alcove/jobs';
import type { SagaKind } from '../lifecycle/lifecycle';
import { copySaga } from './copy.saga';
import { destroySaga } from './destroy.saga';
import { hibernateSaga } from './hibernate.saga';
import type { MoveParams } from './move';
import { provisionSaga } from './provision.saga';
import { resumeSaga } from './resume.saga';
import type { SagaParts } from './saga-parts';

/** Every saga of a room, by the name that the lifecycle calls it. */
export function roomSagas<Scope>(parts: SagaParts<Scope>): Readonly<Record<SagaKind, Saga<MoveParams>>> {
  return { provision: provisionSaga(parts), copy: copySaga(parts), resume: resumeSaga(parts), hibernate: hibernateSaga(parts), destroy: destroySaga(parts) };
}
