/**
 * CommonJS sources, untransformed node_modules: jest 30.5 loads ESM-only packages with require() on Node >= 24.9 under --experimental-vm-modules.
 * `unit` needs nothing; `postgres` starts one embedded Postgres for all its suites (test/start-postgres.ts), `e2b` two whole platforms (test/conformance/e2b).
 * Suites that boot rooms live in test/e2e, test/chaos and test/security, and are run by `./alcove test` after the template has been built.
 */
const swc = {
  sourceMaps: 'inline',
  jsc: { target: 'es2024', keepClassNames: true, parser: { syntax: 'typescript', decorators: true }, transform: { legacyDecorator: true, decoratorMetadata: true } },
  module: { type: 'commonjs' },
};
const base = {
  rootDir: __dirname,
  testEnvironment: 'node',
  transform: { '^.+\\.ts$': ['@swc/jest', swc] },
  moduleNameMapper: { '^@alcove/([a-z-]+)$': '<rootDir>/libs/$1/src/index.ts' },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
};
const withPostgres = { globalSetup: '<rootDir>/test/start-postgres.ts', globalTeardown: '<rootDir>/test/stop-postgres.ts' };
const withWorlds = { globalSetup: '<rootDir>/test/conformance/e2b/start-worlds.ts', globalTeardown: '<rootDir>/test/conformance/e2b/stop-worlds.ts' };
const onRealProcesses = { setupFilesAfterEnv: ['<rootDir>/test/retry-once.ts'] };
module.exports = {
  testTimeout: 30_000,
  projects: [
    { ...base, displayName: 'unit', testMatch: ['<rootDir>/{apps,libs}/**/*.spec.ts', '<rootDir>/test/{tidy,sim,bench}/**/*.spec.ts'] },
    { ...base, ...withPostgres, ...onRealProcesses, displayName: 'postgres', testMatch: ['<rootDir>/test/integration/**/*.spec.ts'] },
    { ...base, ...onRealProcesses, displayName: 'conformance', testMatch: ['<rootDir>/test/conformance/*.spec.ts'] },
    { ...base, ...onRealProcesses, ...withWorlds, displayName: 'e2b', testMatch: ['<rootDir>/test/conformance/e2b/*.spec.ts'] },
    { ...base, displayName: 'kvm', testMatch: ['<rootDir>/test/kvm/**/*.spec.ts'] },
    { ...base, ...withPostgres, ...onRealProcesses, displayName: 'rooms', testMatch: ['<rootDir>/test/{e2e,chaos,security}/**/*.spec.ts'] },
  ],
};
