import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { expectWithinRatchet, isTest, root, sourceFiles, type SourceFile } from './source-tree';

const files = sourceFiles();
const production = files.filter((f) => !isTest(f.path));
const lineCount = (text: string): number => text.trimEnd().split('\n').length;

function visitAll(file: SourceFile, visitor: (node: ts.Node) => void): void {
  const visit = (node: ts.Node): void => {
    visitor(node);
    ts.forEachChild(node, visit);
  };
  visit(file.ast);
}

function linesOf(file: SourceFile, node: ts.Node): number {
  return file.ast.getLineAndCharacterOfPosition(node.getEnd()).line - file.ast.getLineAndCharacterOfPosition(node.getStart()).line + 1;
}

function nameOf(node: ts.Node): string {
  const named = node as { name?: ts.Node };
  if (named.name) return named.name.getText();
  return node.parent && ts.isVariableDeclaration(node.parent) ? node.parent.name.getText() : '(anonymous)';
}

it('keeps files at 400 lines', () => {
  expectWithinRatchet('file', files.filter((f) => lineCount(f.text) > 400).map((f) => ({ key: f.path, say: `${f.path} has ${lineCount(f.text)} lines` })));
});

it('keeps functions at 60 lines', () => {
  const breaches: { key: string; say: string }[] = [];
  for (const file of production) {
    visitAll(file, (node) => {
      if (!ts.isFunctionLike(node) || !('body' in node) || !node.body) return;
      const lines = linesOf(file, node);
      if (lines > 60) breaches.push({ key: `${file.path}#${nameOf(node)}`, say: `${file.path}: ${nameOf(node)} has ${lines} lines` });
    });
  }
  expectWithinRatchet('function', breaches);
});

it('keeps constructors at 6 dependencies', () => {
  const breaches: { key: string; say: string }[] = [];
  for (const file of production) {
    visitAll(file, (node) => {
      if (ts.isConstructorDeclaration(node) && node.parameters.length > 6) breaches.push({ key: file.path, say: `${file.path}: a constructor takes ${node.parameters.length}` });
    });
  }
  expectWithinRatchet('constructor', breaches);
});

it('names things for what they are', () => {
  const drawer = /(^|[/.-])(utils?|helpers?|common|misc|shared)([/.-]|$)/i;
  expectWithinRatchet('drawer', files.filter((f) => drawer.test(f.path)).map((f) => ({ key: f.path, say: `${f.path} is a generic drawer` })));
});

it('reads the environment in config files only', () => {
  const config = /(^|\/)([a-z-]+\.)?config\.ts$/;
  const wrong = files.filter((f) => !config.test(f.path) && !f.path.startsWith('test/') && !f.path.startsWith('rootfs/') && /\bprocess\.env\b/.test(f.text));
  expectWithinRatchet('environment', wrong.map((f) => ({ key: f.path, say: `${f.path} reads process.env` })));
});

it('takes time and chance from libs/base only', () => {
  const wrong = production.filter((f) => !f.path.startsWith('libs/base/') && !f.path.startsWith('rootfs/') && /\bDate\.now\(|\bnew Date\(\)|\bMath\.random\(/.test(f.text));
  expectWithinRatchet('clock', wrong.map((f) => ({ key: f.path, say: `${f.path} uses Date or Math.random` })));
});

it('says no any and no export *', () => {
  const breaches: { key: string; say: string }[] = [];
  for (const file of files) {
    visitAll(file, (node) => {
      if (node.kind === ts.SyntaxKind.AnyKeyword) breaches.push({ key: file.path, say: `${file.path}: any` });
      if (ts.isExportDeclaration(node) && !node.exportClause) breaches.push({ key: file.path, say: `${file.path}: export *` });
    });
  }
  expectWithinRatchet('any', breaches);
});

it('gives each lib and app one door and a README', () => {
  const missing: string[] = [];
  for (const kind of ['libs', 'apps']) {
    for (const name of readdirSync(join(root, kind))) {
      const door = kind === 'libs' ? 'src/index.ts' : 'src/main.ts';
      for (const file of [door, 'README.md']) if (!existsSync(join(root, kind, name, file))) missing.push(`${kind}/${name}/${file}`);
    }
  }
  expect(missing).toEqual([]);
  const doors = files.filter((f) => f.path.endsWith('/index.ts') && !/^libs\/[a-z-]+\/src\/index\.ts$/.test(f.path));
  expect(doors.map((f) => f.path)).toEqual([]);
});

it('keeps the driver interface within 150 lines', () => {
  const driver = files.find((f) => f.path === 'libs/runtime/src/driver.ts');
  expect(lineCount(driver?.text ?? '')).toBeLessThanOrEqual(150);
});
