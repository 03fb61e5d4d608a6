import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@alcove/base';
import { isProblem, Problem, TemplateManifest } from '@alcove/contracts';
import type { Template } from '../driver';
import { replaceFile } from '../image/durable';
import { contentHash } from './content-hash';
import { manifestFile, templateIdOf } from './manifest';

const verifiedFile = 'verified.json';
const idPattern = /^tpl_[0-9a-f]{20}$/;

/**
 * The templates of a store. They are data, not a cache: images are differences against their exact bytes, so each file is checked against its hash before it is used.
 * A file is hashed again only when the file system says that it was touched: what was found is kept beside the templates, in `verified.json`.
 */
export class TemplateStore {
  readonly #root: string;
  readonly #opened = new Map<string, Template>();

  constructor(storeDir: string) {
    this.#root = join(storeDir, 'templates');
  }

  /** A template whose files are there and unchanged. Problems: `template.not_found`; `image.corrupt` when a file is not what the manifest says. */
  async get(id: string): Promise<Template> {
    const known = this.#opened.get(id);
    if (known) return known;
    const folder = this.#folder(id);
    const manifest = await this.#readManifest(id, folder);
    const verified = await this.#readVerified();
    let checked = false;
    for (const [name, stored] of Object.entries(manifest.files)) {
      const path = join(folder, name);
      const stamp = `${stored.sha256} ${await stampOf(path)}`;
      if (verified[`${id}/${name}`] === stamp) continue;
      const found = await contentHash(path);
      if (found.sha256 !== stored.sha256 || found.bytes !== stored.bytes) throw new Problem('image.corrupt', { detail: `${name} of template ${id} is not what it was` });
      verified[`${id}/${name}`] = stamp;
      checked = true;
    }
    if (checked) await this.#saveVerified(verified);
    const template = { manifest, folder };
    this.#opened.set(id, template);
    return template;
  }

  /** All whole templates, newest first. A damaged one is left out; get() says what is wrong with it. */
  async list(): Promise<Template[]> {
    const templates: Template[] = [];
    for (const id of await this.#ids()) {
      try {
        templates.push(await this.get(id));
      } catch (error) {
        if (!isProblem(error)) throw error;
      }
    }
    return templates.sort((a, b) => b.manifest.builtAt.localeCompare(a.manifest.builtAt));
  }

  /** The newest template of that name; undefined when there is none. */
  async newest(name: string): Promise<Template | undefined> {
    return (await this.list()).find((template) => template.manifest.name === name);
  }

  #folder(id: string): string {
    if (!idPattern.test(id)) throw new Problem('template.not_found', { detail: 'not a template id' });
    return join(this.#root, id);
  }

  async #ids(): Promise<string[]> {
    try {
      return (await readdir(this.#root)).filter((name) => idPattern.test(name));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  async #readManifest(id: string, folder: string): Promise<TemplateManifest> {
    try {
      const manifest = TemplateManifest.parse(JSON.parse(await readFile(join(folder, manifestFile), 'utf8')));
      if (manifest.id === id && templateIdOf(manifest) === id) return manifest;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw new Problem('template.not_found', { detail: `template ${id} is not on this host`, cause: error });
      throw new Problem('image.corrupt', { detail: `the manifest of template ${id} is damaged`, cause: error });
    }
    throw new Problem('image.corrupt', { detail: `the manifest of template ${id} is not what it was` });
  }

  /** Remembers that a template's files were hashed just now, by who has built it. */
  async remember(manifest: TemplateManifest): Promise<void> {
    const verified = await this.#readVerified();
    for (const [name, stored] of Object.entries(manifest.files)) {
      verified[`${manifest.id}/${name}`] = `${stored.sha256} ${await stampOf(join(this.#folder(manifest.id), name))}`;
    }
    await this.#saveVerified(verified);
  }

  async #readVerified(): Promise<Record<string, string>> {
    return readFile(join(this.#root, verifiedFile), 'utf8')
      .then((text) => JSON.parse(text) as Record<string, string>)
      .catch(() => ({}));
  }

  /** Saves hashing, nothing else: where it cannot be written, the files are hashed again next time. */
  async #saveVerified(verified: Record<string, string>): Promise<void> {
    await replaceFile(join(this.#root, verifiedFile), JSON.stringify(verified)).catch(() => undefined);
  }
}

/** Changes when a file is written, replaced or restored from elsewhere. Not proof against who may write to the store: the hash is. */
async function stampOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join('.');
  } catch (error) {
    throw new Problem('image.corrupt', { detail: 'a file of a template is missing', cause: error });
  }
}
