import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TemplateManifest } from '@alcove/contracts';
import type { Template } from '@alcove/runtime';
import { environment } from './test.config';

/** The newest default template of the home that `./alcove setup` prepared (its folder holds the guest's artefacts too), or null where none was built. */
export function builtTemplate(): Template | null {
  const templates = join(environment.homeFolder, 'store/templates');
  const found: Template[] = [];
  for (const name of names(templates).filter((entry) => entry.startsWith('tpl_'))) {
    const folder = join(templates, name);
    const manifest = TemplateManifest.parse(JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')));
    if (manifest.name === 'default') found.push({ manifest, folder });
  }
  return found.sort((a, b) => b.manifest.builtAt.localeCompare(a.manifest.builtAt))[0] ?? null;
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
