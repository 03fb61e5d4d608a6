/**
 * Preloaded (`node --import`) by tests that start a process of this checkout from its sources: compiles TypeScript as jest does, and knows the aliases. What
 * is shipped runs from dist/ instead.
 */
import { existsSync, readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';

/** Run from the checkout's root: this file is an ES module here and CommonJS to the type checker, so neither knows its own folder. */
const root = process.cwd();

registerHooks({
  resolve(specifier, context, next) {
    const lib = /^@alcove\/([a-z-]+)$/.exec(specifier)?.[1];
    if (lib !== undefined) return { url: pathToFileURL(join(root, 'libs', lib, 'src', 'index.ts')).href, format: 'commonjs', shortCircuit: true };
    if (specifier.startsWith('.') && context.parentURL?.endsWith('.ts')) {
      const url = new URL(`${specifier}.ts`, context.parentURL);
      if (existsSync(url)) return { url: url.href, format: 'commonjs', shortCircuit: true };
    }
    return next(specifier, context);
  },
  load(url, context, next) {
    if (!url.endsWith('.ts') || url.includes('/node_modules/')) return next(url, context);
    const filename = fileURLToPath(url);
    const { code } = transformSync(readFileSync(filename, 'utf8'), {
      filename,
      sourceMaps: 'inline',
      jsc: { target: 'es2023', keepClassNames: true, parser: { syntax: 'typescript', decorators: true }, transform: { legacyDecorator: true, decoratorMetadata: true } },
      module: { type: 'commonjs' },
    });
    return { format: 'commonjs', source: code, shortCircuit: true };
  },
});
