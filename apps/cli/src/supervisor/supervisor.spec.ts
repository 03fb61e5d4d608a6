import { limits } from '@alcove/base';
import { stopMs } from './supervisor';

it('waits longer for a process than that gives itself to close, and that longer than its calls have to finish', () => {
  expect(stopMs).toBeGreaterThan(limits.http.processCloseMs);
  expect(limits.http.processCloseMs).toBeGreaterThan(limits.http.closeMs);
});
