import { z } from 'zod';

const Given = z.object({
  url: z.string(),
  platformKey: z.string(),
  home: z.string(),
  storeDir: z.string(),
  hostDir: z.string(),
  cache: z.string(),
  template: z.object({ id: z.string(), folder: z.string(), cloneSafe: z.boolean() }),
  accelerator: z.string(),
  driver: z.string(),
  asRoot: z.boolean(),
  /** Where E2B's SDK finds the platform, and who signed its certificate. */
  edge: z.object({ domain: z.string(), caFile: z.string() }),
});
/** The running platform that is measured, as `./alcove bench` hands it over. */
export type Platform = z.infer<typeof Given>;

export function platformUnderTest(): Platform {
  return Given.parse(JSON.parse(process.env['ALCOVE_BENCH'] ?? '{}'));
}
