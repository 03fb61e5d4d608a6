import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createLog, errorCode, systemClock } from '@alcove/base';
import { isProblem, type TemplateManifest } from '@alcove/contracts';
import { buildTemplate, requireEngine, TemplateStore, type QemuEngine } from '@alcove/runtime';
import { z } from 'zod';
import type { Context } from '../context';
import { CliFailure, exitCodes } from '../failure';
import { withFolderLock } from '../folder-lock';
import { writeWhole } from '../home';
import { templateUid } from '../supervisor/plan';
import { ensureArtefacts } from './artefacts';
import { keyOfFolders } from './content-key';
import { readRecipe } from './template-recipe';
import { endUnfinishedBuilds } from './unfinished-builds';

/** Translation cache of the emulator while it builds; leaves no trace in the template. */
const tbSizeMiB = 128;
/** What shapes a captured template beside its artefacts and the engine. */
const capturingSources = ['libs/runtime/src/template', 'libs/runtime/src/drivers/qemu'];
const shaping = ['build-template.ts', 'boot-attempts.ts', 'qemu.args.ts'];

const Origins = z.record(z.string(), z.string());

export interface EnsuredTemplate {
  manifest: TemplateManifest;
  /** False when the same template was there already. */
  made: boolean;
}

/**
 * The template of a folder with alcove.template.json, built unless the store has one made of the same things by the same engine. Earlier versions stay: rooms that
 * sleep need them. Running host agents find the new one at their next heartbeat.
 */
export async function ensureTemplate(context: Context, folder: string, options: { name?: string }, say: (state: string) => void): Promise<EnsuredTemplate> {
  const from = resolve(folder);
  const given = await readRecipe(from);
  const recipe = options.name === undefined ? given : { ...given, name: options.name };
  const artefacts = await ensureArtefacts(context, from, given.name, say);
  say('looking at this machine');
  const engine = await engineOf(context);
  const key = await originOf(context, recipe.name, artefacts.key, engine);
  const templates = join(context.paths.store, 'templates');
  await mkdir(templates, { recursive: true, mode: 0o755 });
  return withFolderLock(templates, () => say('waiting for another build'), async () => {
    const store = new TemplateStore(context.paths.store);
    const known = await withOrigin(store, templates, key);
    if (known) return { manifest: known, made: false };
    await endUnfinishedBuilds(templates);
    const settled = context.onInterrupt('the unfinished template', () => endUnfinishedBuilds(templates));
    const log = createLog('template', 'warn');
    const uid = context.config.asRoot ? templateUid : null;
    const built = await buildTemplate({ artefacts: artefacts.folder, storeDir: context.paths.store, recipe, engine, tbSizeMiB, uid, clock: systemClock, log }, say).finally(settled);
    const origins = await readOrigins(templates);
    await writeWhole(originsPath(templates), `${JSON.stringify({ ...origins, [built.manifest.id]: key }, null, 2)}\n`, 0o644);
    return { manifest: built.manifest, made: true };
  });
}

/** The engine that rooms of this machine will run on. Throws CliFailure where there is none. */
async function engineOf(context: Context): Promise<QemuEngine> {
  try {
    return await requireEngine({ qemuPath: 'qemu-system-x86_64', qemuImgPath: 'qemu-img', accelerator: context.config.accelerator, clock: systemClock });
  } catch (cause) {
    if (!isProblem(cause)) throw cause;
    throw new CliFailure(`no room can run on this machine: ${cause.detail ?? cause.code}`, { mend: './alcove doctor says more', exitCode: exitCodes.unavailable, cause });
  }
}

async function originOf(context: Context, name: string, artefactsKey: string, engine: QemuEngine): Promise<string> {
  const sources = capturingSources.map((path) => join(context.config.root, path));
  const capturing = await keyOfFolders(sources, [], (path) => !shaping.includes(path));
  const parts = [name, artefactsKey, engine.build, engine.accelerator, engine.cpuModel, capturing];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 24);
}

/** What the templates of a store were made of, kept beside them so that a copied store knows it too. Only a hint: without it a template is built again. */
function originsPath(templates: string): string {
  return join(templates, 'origins.json');
}

async function readOrigins(templates: string): Promise<Record<string, string>> {
  try {
    return Origins.parse(JSON.parse(await readFile(originsPath(templates), 'utf8')));
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError || error instanceof z.ZodError) return {};
    throw error;
  }
}

async function withOrigin(store: TemplateStore, templates: string, key: string): Promise<TemplateManifest | null> {
  const origins = await readOrigins(templates);
  const found = (await store.list()).find(({ manifest }) => origins[manifest.id] === key);
  return found?.manifest ?? null;
}
