import { createInterface } from 'node:readline/promises';
import type { CliConfig } from '../cli.config';
import { inheritedEnvironment } from '../cli.config';
import { CliFailure, exitCodes } from '../failure';
import { runProgram } from '../run-program';
import type { Progress } from '../terminal';
import { aptSources, distribution, missingPackages, planInstallation, type InstallPlan, type Need } from './machine-packages';

/**
 * Installs the machine's packages that are missing: says what, asks once where it is not root (sudo may then ask for the password), and does nothing when nothing
 * is missing. Throws CliFailure when the user says no or the system has no apt.
 */
export async function installPackages(config: CliConfig, progress: Progress, yes: boolean, more: Need[] = []): Promise<void> {
  const missing = await missingPackages(config.asRoot, more);
  if (missing.length === 0) {
    progress.same('machine packages', 'all there');
    return;
  }
  const system = await distribution();
  const plan = planInstallation(missing, system, await aptSources());
  if (!plan) {
    throw new CliFailure(`this machine lacks ${missing.join(', ')}, and ${system.name} is not a Debian or Ubuntu`, { mend: 'install them by hand (QEMU 8.2 or newer), then run this again', exitCode: exitCodes.unavailable });
  }
  say(plan, progress, config.asRoot);
  if (!config.asRoot && !yes) await ask(config);
  await progress.step('machine packages', (state) => perform(plan, config.asRoot, state), () => missing.join(' '));
}

function say(plan: InstallPlan, progress: Progress, asRoot: boolean): void {
  progress.say(`Alcove needs these packages of the machine${asRoot ? '' : ' (installing them needs sudo)'}:`);
  progress.say(`  ${plan.packages.join(' ')}`);
  if (plan.source) progress.say(`  and, for a QEMU that is new enough, the source "${plan.source.line}" in ${plan.source.file}`);
  progress.say();
}

async function ask(config: CliConfig): Promise<void> {
  if (!config.interactive) throw new CliFailure('packages are missing and there is nobody to ask', { mend: 'run it again with --yes', exitCode: exitCodes.usage });
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await prompt.question('  Install them now? [Y/n] ');
    if (/^\s*(n|no)\s*$/i.test(answer)) throw new CliFailure('nothing was installed', { mend: 'install the packages above by hand, then run this again' });
  } finally {
    prompt.close();
  }
}

async function perform(plan: InstallPlan, asRoot: boolean, state: (text: string) => void): Promise<void> {
  // In run level 1, packages do not start the services that they bring.
  const env = inheritedEnvironment({ DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' });
  const administer = async (command: string[], input = ''): Promise<void> => {
    const [program = '', ...args] = asRoot ? command : ['sudo', '--preserve-env=DEBIAN_FRONTEND,RUNLEVEL', ...command];
    await runProgram(program, args, { env, input, onLine: state });
  };
  // Asked for before anything is captured, so that the password prompt is seen.
  if (!asRoot) await runProgram('sudo', ['--validate'], { inherit: true });
  if (plan.source) await administer(['tee', plan.source.file], `${plan.source.line}\n`);
  for (const command of plan.commands) await administer(command);
}
