import { readFile } from 'node:fs/promises';
import { z } from 'zod';

/** What ran, summed over any number of reports. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

export const nothing: Tally = { passed: 0, failed: 0, skipped: 0 };

export function add(a: Tally, b: Tally): Tally {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

const Report = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int(),
  numTodoTests: z.int(),
  /** Suites that could not even be loaded. */
  numRuntimeErrorTestSuites: z.int(),
  success: z.boolean(),
});

/** The tally of one `jest --json --outputFile`. A report that is missing or damaged counts as one failure: jest did not get to its end. */
export async function tallyOf(path: string): Promise<Tally> {
  try {
    return tallyOfReport(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

/** A run that calls itself unsuccessful without naming a failed test (an obsolete snapshot, a global set-up) counts as one failure. */
export function tallyOfReport(report: unknown): Tally {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, numRuntimeErrorTestSuites, success } = Report.parse(report);
  const failed = numFailedTests + numRuntimeErrorTestSuites;
  return { passed: numPassedTests, failed: failed === 0 && !success ? 1 : failed, skipped: numPendingTests + numTodoTests };
}
