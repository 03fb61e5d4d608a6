/**
 * For suites on real VMs only: under emulation on a busy machine a boot may hang or a guest stand still for seconds, which is not what they test. A case that failed is
 * tried once more, and its first failure is printed.
 */
jest.retryTimes(1, { logErrorsBeforeRetry: true });
