import { TemplateStore } from '@alcove/runtime';
import type { Context } from '../context';
import { CliFailure, exitCodes } from '../failure';
import { readLiveStatus } from '../supervisor/status-file';
import { setUpMachine } from '../setup/setup';
import { size, table } from '../terminal';
import { ensureTemplate } from './ensure-template';

/** Builds a template from a folder and says how to use it. */
export async function buildFromFolder(context: Context, folder: string, options: { name?: string; yes: boolean; json: boolean }): Promise<number> {
  if (context.config.driver === 'fake') throw new CliFailure('the fake driver has no templates', { mend: 'unset ALCOVE_DRIVER', exitCode: exitCodes.usage });
  await setUpMachine(context, { yes: options.yes });
  const { manifest, made } = await context.progress.step(
    'template',
    (say) => ensureTemplate(context, folder, options.name === undefined ? {} : { name: options.name }, say),
    (ensured) => (ensured.made ? 'built' : 'the same one is there already'),
  );
  if (options.json) {
    context.print(JSON.stringify({ id: manifest.id, name: manifest.name, made, cloneSafe: manifest.cloneSafe, size: manifest.size }, null, 2));
    return exitCodes.ok;
  }
  const up = await readLiveStatus(context.paths.status);
  const when = up ? 'The running platform offers it within seconds.' : './alcove up starts the platform.';
  context.print(`\n  ${context.style.bold(manifest.name)} is ready (${manifest.id}). ${when}\n  New rooms of it: POST /v1/rooms {"userId": "…", "template": "${manifest.name}"}\n`);
  return exitCodes.ok;
}

/** The templates of this home's store, newest first. */
export async function listTemplates(context: Context, json: boolean): Promise<number> {
  const manifests = (await new TemplateStore(context.paths.store).list()).map(({ manifest }) => manifest);
  if (json) {
    context.print(JSON.stringify({ templates: manifests }, null, 2));
    return exitCodes.ok;
  }
  const rows = manifests.map((one) => [one.name, one.id, one.builtAt.slice(0, 16).replace('T', ' '), one.cloneSafe ? 'yes' : 'no', `${one.size.memoryMiB} MiB`, one.engine.accelerator, size(one.files['rootfs.erofs']?.bytes ?? 0)]);
  context.print(rows.length === 0 ? '  There are no templates yet: ./alcove setup makes the default one.' : table([['name', 'id', 'built', 'clone-safe', 'memory', 'engine', 'root file system'], ...rows], context.style));
  return exitCodes.ok;
}
