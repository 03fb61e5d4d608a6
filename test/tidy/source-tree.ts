import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';

export const root = resolve(__dirname, '../..');

export interface SourceFile {
  /** Relative to the checkout, with forward slashes. */
  path: string;
  text: string;
  ast: ts.SourceFile;
}

/** Every TypeScript file that git knows or would add. */
export function sourceFiles(): SourceFile[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], { cwd: root, encoding: 'utf8' });
  return listed
    .split('\n')
    .filter((path) => path !== '' && existsSync(join(root, path)))
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8');
      return { path, text, ast: ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true) };
    });
}

export interface Import {
  from: string;
  specifier: string;
  /** The file in this checkout that it names, or null for a package. */
  target: string | null;
  typeOnly: boolean;
}

/** Static imports, re-exports, `import()` and `require()` of one file. */
export function importsOf(file: SourceFile): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Expression | undefined, typeOnly: boolean) => {
    if (specifier && ts.isStringLiteralLike(specifier)) found.push({ from: file.path, specifier: specifier.text, target: resolveImport(file.path, specifier.text), typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword || node.importClause?.isTypeOnly === true);
    if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    if (ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || node.expression.getText() === 'require')) add(node.arguments[0], false);
    ts.forEachChild(node, visit);
  };
  visit(file.ast);
  return found;
}

function resolveImport(from: string, specifier: string): string | null {
  const alias = /^@alcove\/([a-z-]+)$/.exec(specifier);
  if (alias) return `libs/${alias[1]}/src/index.ts`;
  if (!specifier.startsWith('.')) return null;
  const base = join(root, dirname(from), specifier);
  for (const candidate of [`${base}.ts`, join(base, 'index.ts'), base]) {
    if (existsSync(candidate)) return relative(root, candidate);
  }
  return relative(root, base);
}

/** `libs/rooms`, `apps/api`, `test`, `rootfs` …: the unit the import table speaks of. */
export function unitOf(path: string): string {
  const [first, second] = path.split('/');
  return first === 'libs' || first === 'apps' ? `${first}/${second}` : (first ?? '');
}

export function isTest(path: string): boolean {
  return path.startsWith('test/') || path.endsWith('.spec.ts') || path.startsWith('libs/testing/');
}

/** Exceptions of today; a rule's list may only shrink. An entry that is no longer needed fails the suite. */
export function ratchet(rule: string): string[] {
  const all = JSON.parse(readFileSync(join(__dirname, 'ratchet.json'), 'utf8')) as Record<string, string[]>;
  return Object.hasOwn(all, rule) ? (all[rule] ?? []) : [];
}

/** Compares what breaks a rule with the ratchet: new breaches and stale exceptions both fail. */
export function expectWithinRatchet(rule: string, breaches: { key: string; say: string }[]): void {
  const allowed = new Set(ratchet(rule));
  const seen = new Set(breaches.map((b) => b.key));
  const fresh = breaches.filter((b) => !allowed.has(b.key)).map((b) => b.say);
  const stale = [...allowed].filter((key) => !seen.has(key)).map((key) => `${key}: no longer breaks "${rule}"; remove it from ratchet.json`);
  expect([...fresh, ...stale]).toEqual([]);
}
