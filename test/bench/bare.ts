/** The VMM driven by a script, with the same template and no platform: what a wake could cost at best, and what a boot costs. */
export interface Bare {
  /** Resumes an idle image with no platform; milliseconds until the agent's first correct answer. */
  resume(): Promise<number>;
  /** Boots the same template from its kernel; milliseconds until the agent's first correct answer, once per boot. */
  coldBoots(count: number, say: (line: string) => void): Promise<number[]>;
  close(): Promise<void>;
}

/** Throws until the bare VMM script is there. */
export function openBare(): Promise<Bare> {
  return Promise.reject(new Error('test/bench/bare-vmm.ts is not there yet'));
}
