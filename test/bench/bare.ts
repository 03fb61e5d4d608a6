import { TemplateStore } from '@alcove/runtime';
import { BareVmm } from './bare-vmm';
import type { Platform } from './bench.config';

/** The VMM driven by a script, with the same template and no platform: what a wake could cost at best, and what a boot costs. */
export interface Bare {
  /** Resumes an idle image with no platform; milliseconds until the agent's first correct answer. */
  resume(): Promise<number>;
  /** Boots the same template from its kernel; milliseconds until the agent's first correct answer, once per boot. */
  coldBoots(count: number, say: (line: string) => void): Promise<number[]>;
  close(): Promise<void>;
}

/** Opens the template that the platform's rooms are born from. */
export async function openBare(platform: Platform): Promise<Bare> {
  const template = await new TemplateStore(platform.storeDir).get(platform.template.id);
  const bare = await BareVmm.open(template);
  return {
    resume: () => bare.resume(),
    coldBoots: async (count, say) => {
      const taken: number[] = [];
      while (taken.length < count) {
        say(`cold boot ${taken.length + 1} of ${count}`);
        taken.push(await bare.coldBoot());
      }
      return taken;
    },
    close: () => bare.close(),
  };
}
