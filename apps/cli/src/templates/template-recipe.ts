import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '@alcove/base';
import { TemplateRecipe } from '@alcove/contracts';
import { z } from 'zod';
import { CliFailure, exitCodes, messageOf } from '../failure';

export const recipeFile = 'alcove.template.json';

/** Reads a template folder's recipe. Throws CliFailure (64) that names what is wrong, field by field. */
export async function readRecipe(folder: string): Promise<TemplateRecipe> {
  const path = join(folder, recipeFile);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const what = errorCode(cause) === 'ENOENT' ? 'is not there' : messageOf(cause);
    throw new CliFailure(`${path} ${what}`, { mend: 'the README shows a folder with one', exitCode: exitCodes.usage, cause });
  });
  try {
    return TemplateRecipe.parse(JSON.parse(text));
  } catch (cause) {
    throw new CliFailure([`${path} is not right:`, ...complaints(cause)].join('\n    '), { exitCode: exitCodes.usage, cause });
  }
}

function complaints(error: unknown): string[] {
  if (error instanceof z.ZodError) return error.issues.map((issue) => `${issue.path.join('.') || 'the whole'}: ${issue.message}`);
  return [messageOf(error)];
}
