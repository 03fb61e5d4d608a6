/** Injection tokens for what is not a class. */
export const CLOCK = Symbol('CLOCK');
export const LOG = Symbol('LOG');
