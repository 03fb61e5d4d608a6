import { firstMemory, judgeIdle, judgeLease, pauseMs, type WardenRules } from './decide';

/** What the warden sees and does; times in milliseconds of the machine's own time. */
export interface WardenHands<Vm> {
  now(): number;
  sleep(ms: number): Promise<void>;
  /** End of the recorded lease, or null when there is none that counts. */
  readExpiry(): Promise<number | null>;
  findVms(): Promise<Vm[]>;
  end(vm: Vm): Promise<void>;
  agentLives(): Promise<boolean>;
  folderExists(): Promise<boolean>;
  log(event: Record<string, unknown>, message: string): void;
}

/** Looks at the lease until there is nothing left to watch over. What fails is said and tried again at the next look. */
export async function watchOver<Vm>(hands: WardenHands<Vm>, rules: WardenRules): Promise<void> {
  let memory = firstMemory(hands.now());
  for (;;) {
    const judged = judgeLease(memory, await hands.readExpiry(), hands.now(), rules);
    memory = judged.memory;
    if (judged.verdict === 'end') {
      const seen = await endAll(hands).catch((err: unknown) => {
        hands.log({ err: String(err) }, 'the VMs of this host could not be looked for');
        return null;
      });
      if (seen?.vms === 0 && !(await hands.folderExists())) return;
      if (seen) {
        const idle = judgeIdle(memory, seen, hands.now(), rules);
        if (idle.leave) return;
        memory = idle.memory;
      }
    }
    await hands.sleep(pauseMs(judged.verdict, memory, hands.now(), rules));
  }
}

async function endAll<Vm>(hands: WardenHands<Vm>): Promise<{ vms: number; agent: boolean }> {
  const vms = await hands.findVms();
  if (vms.length > 0) hands.log({ vms: vms.length }, 'the lease of this host is over and its agent has not ended its VMs: the warden does');
  const ends = await Promise.allSettled(vms.map((vm) => hands.end(vm)));
  for (const end of ends) if (end.status === 'rejected') hands.log({ err: String(end.reason) }, 'a VM could not be ended');
  return { vms: vms.length, agent: vms.length === 0 && (await hands.folderExists()) && (await hands.agentLives()) };
}
