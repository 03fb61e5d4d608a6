/** What is tried inside the emulated host with KVM, in order. The program there prints a line for each; the suite here expects them all. */
export const steps = [
  'the probe finds that KVM works',
  'a template is captured under KVM',
  'a room is restored from the template and answers',
  'ten sleeps and wakes keep its RAM',
  'an image made for another engine is refused',
  'the room then boots from its disk',
] as const;
export type StepName = (typeof steps)[number];
