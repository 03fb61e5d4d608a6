/**
 * For suites on real processes and VMs only: on a busy machine, and under emulation, something may stand still for seconds, which is not what they test. A case that failed is
 * tried once more, and its first failure is printed.
 */
jest.retryTimes(1, { logErrorsBeforeRetry: true });
