import { createLog, type Log } from './log';

/** What a process does from its start to its end. */
export interface ProcessPlan {
  readonly name: string;
  /** Everything up to serving. */
  start(): Promise<{ readonly log: Log; close(): Promise<void> }>;
  /** How long close() may take before the process is ended by force, milliseconds. */
  readonly closeMs: number;
  /** The exit code for a start that failed, and what to say: one line for a person, or null where the log says more. */
  failure(error: unknown): { readonly exitCode: number; readonly line: string | null };
}

/** Runs a process until SIGTERM or SIGINT, and then closes it in order: exit code 0, or 1 when closing failed or took too long. */
export function runProcess(plan: ProcessPlan): void {
  plan.start().then(
    (running) => closeOnSignals(running, plan.closeMs),
    (error: unknown) => {
      const { exitCode, line } = plan.failure(error);
      if (line === null) createLog(plan.name).error({ err: error }, 'not started');
      else process.stderr.write(`${plan.name}: ${line}\n`);
      process.exit(exitCode);
    },
  );
}

function closeOnSignals({ log, close }: Awaited<ReturnType<ProcessPlan['start']>>, closeMs: number): void {
  let closing = false;
  const end = (signal: NodeJS.Signals): void => {
    if (closing) return;
    closing = true;
    log.info({ signal }, 'closing');
    // Not to be waited for: a part that hangs must not keep the port.
    setTimeout(() => process.exit(1), closeMs).unref();
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, 'could not close in order');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}
