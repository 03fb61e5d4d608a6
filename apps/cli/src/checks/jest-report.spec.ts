import { add, nothing, tallyOf, tallyOfReport } from './jest-report';

const report = { numPassedTests: 5, numFailedTests: 1, numPendingTests: 2, numTodoTests: 1, numRuntimeErrorTestSuites: 1, success: false };

it('counts suites that did not load as failures, and what is to do as skipped', () => {
  expect(tallyOfReport(report)).toEqual({ passed: 5, failed: 2, skipped: 3 });
});

it('never takes an unsuccessful run for a success', async () => {
  expect(tallyOfReport({ ...report, numFailedTests: 0, numRuntimeErrorTestSuites: 0 }).failed).toBe(1);
  expect(await tallyOf('/nonexistent/report.json')).toEqual({ passed: 0, failed: 1, skipped: 0 });
});

it('sums', () => {
  expect(add(nothing, { passed: 1, failed: 2, skipped: 3 })).toEqual({ passed: 1, failed: 2, skipped: 3 });
});
