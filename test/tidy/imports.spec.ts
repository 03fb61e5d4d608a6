import { importsOf, isTest, sourceFiles, unitOf, type Import } from './source-tree';

/** Who may import whom (ARCHITECTURE.md). `libs/x` in a row also means: only through its index. */
const controlPlane = ['base', 'contracts', 'db', 'jobs', 'keys', 'vault', 'policy', 'audit', 'identity', 'fleet', 'rooms', 'billing', 'memory'];
const table: Record<string, string[]> = {
  'libs/base': [],
  'libs/contracts': ['base'],
  'libs/db': ['base'],
  'libs/jobs': ['base', 'contracts', 'db'],
  'libs/keys': ['base', 'contracts', 'db', 'jobs', 'audit', 'vault', 'identity'],
  'libs/rooms': ['base', 'contracts', 'db', 'jobs', 'fleet', 'policy', 'audit', 'keys', 'identity'],
  'libs/vault': ['base', 'contracts'],
  'libs/policy': ['base', 'contracts'],
  'libs/audit': ['base', 'contracts', 'db'],
  'libs/identity': ['base', 'contracts', 'db', 'audit'],
  'libs/fleet': ['base', 'contracts', 'db'],
  'libs/billing': ['base', 'contracts', 'db', 'jobs'],
  'libs/windows': ['base', 'contracts', 'policy'],
  'libs/runtime': ['base', 'contracts', 'vault', 'windows'],
  'libs/memory': ['base', 'contracts', 'db', 'jobs', 'audit', 'keys', 'vault', 'identity'],
  'apps/api': controlPlane,
  'apps/worker': controlPlane,
  'apps/edge': ['base', 'contracts'],
  'apps/host': ['base', 'contracts', 'vault', 'policy', 'windows', 'runtime'],
  'apps/cli': ['base', 'contracts', 'db', 'jobs', 'vault', 'keys', 'runtime'],
};

const files = sourceFiles();
const production = files.filter((f) => !isTest(f.path) && (f.path.startsWith('libs/') || f.path.startsWith('apps/')));
const imports = production.flatMap(importsOf);
const crossing = imports.filter((i) => i.target !== null && unitOf(i.target) !== unitOf(i.from));

function breaksTable(i: Import): string | null {
  const [kind, name] = unitOf(i.target ?? '').split('/');
  const row = table[unitOf(i.from)];
  if (!row) return `${i.from}: its unit is not in the import table`;
  if (kind !== 'libs') return `${i.from}: imports ${i.target}; no app is imported, and nothing outside libs/`;
  if (!row.includes(name ?? '')) return `${i.from}: ${unitOf(i.from)} may not import ${i.target}`;
  if (!i.specifier.startsWith('@alcove/')) return `${i.from}: enters ${unitOf(i.target ?? '')} by ${i.specifier} instead of its index`;
  return null;
}

it('follows the import table', () => {
  expect(crossing.map(breaksTable).filter((b) => b !== null)).toEqual([]);
});

it('never enters a lib by its own index from inside', () => {
  const own = imports.filter((i) => unitOf(i.from) === unitOf(i.target ?? '') && i.target?.endsWith('/src/index.ts') && unitOf(i.from).startsWith('libs/'));
  expect(own.map((i) => `${i.from} imports its own index`)).toEqual([]);
});

it('leaves the Prisma client to libs/db', () => {
  const wrong = imports.filter((i) => /@prisma\/client|generated\/client/.test(i.specifier) && unitOf(i.from) !== 'libs/db');
  expect(wrong.map((i) => `${i.from} imports ${i.specifier}`)).toEqual([]);
});

it('keeps the pure parts free of Nest, Prisma, Node and the clock', () => {
  const pure = /^libs\/(rooms\/src\/lifecycle|fleet\/src\/placement|policy\/src)\//;
  const allowed = /^(\.|@alcove\/(base|contracts)$|zod$)/;
  const wrong = imports.filter((i) => pure.test(i.from) && !allowed.test(i.specifier));
  expect(wrong.map((i) => `${i.from} imports ${i.specifier}`)).toEqual([]);
});

it('keeps the host process away from databases and queues, transitively', () => {
  const byFile = Map.groupBy(imports, (i) => i.from);
  const seen = new Set<string>();
  const packages = new Set<string>();
  const stack = production.filter((f) => f.path.startsWith('apps/host/')).map((f) => f.path);
  expect(stack.length).toBeGreaterThan(0);
  for (let file = stack.pop(); file; file = stack.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const i of byFile.get(file) ?? []) {
      if (i.target) stack.push(i.target);
      else packages.add(i.specifier);
    }
  }
  expect([...packages].filter((p) => /^(pg|@prisma|bullmq|ioredis|@nestjs)/.test(p))).toEqual([]);
  const libs = [...new Set([...seen].map(unitOf))].filter((u) => u !== 'apps/host').map((u) => u.replace('libs/', ''));
  expect(libs.filter((l) => !(table['apps/host'] ?? []).includes(l))).toEqual([]);
});

it('has no import cycle', () => {
  const edges = new Map<string, string[]>();
  for (const i of imports) if (i.target && !i.typeOnly) edges.set(i.from, [...(edges.get(i.from) ?? []), i.target]);
  const state = new Map<string, 'open' | 'done'>();
  const cycles: string[] = [];
  const walk = (file: string, path: string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
      return;
    }
    state.set(file, 'open');
    for (const next of edges.get(file) ?? []) walk(next, [...path, file]);
    state.set(file, 'done');
  };
  for (const file of edges.keys()) walk(file, []);
  expect(cycles).toEqual([]);
});

it('uses no forwardRef', () => {
  expect(production.filter((f) => /\bforwardRef\(/.test(f.text)).map((f) => f.path)).toEqual([]);
});
