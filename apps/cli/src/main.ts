/** What `./alcove` hands over to: finds the command, runs it, and turns whatever happens into an exit code and a line that says what to do. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BadSettings, isProblem } from '@alcove/contracts';
import { nearest } from './arguments';
import { readCliConfig } from './cli.config';
import { commands, runCommand } from './commands';
import { makeContext, type Context } from './context';
import { CliFailure, exitCodes, messageOf, withFullDiskExplained } from './failure';
import { Interrupts } from './interrupts';

const interrupts = new Interrupts();
let interrupted = false;

async function main(argv: string[]): Promise<number> {
  const config = readCliConfig();
  const context = makeContext(config, interrupts);
  const [name = 'help', ...rest] = argv;
  if (['help', '--help', '-h'].includes(name)) return help(context, rest[0]);
  const command = commands[name];
  if (!command) return unknownCommand(name);
  if (rest.includes('--help') || rest.includes('-h')) return help(context, name);
  return runCommand(command, context, rest);
}

function help(context: Context, name: string | undefined): number {
  if (name === undefined) {
    context.print(readFileSync(join(context.config.root, 'apps/cli/help.txt'), 'utf8'));
    return exitCodes.ok;
  }
  const command = commands[name];
  if (!command) return unknownCommand(name);
  context.print(`\n  ./alcove ${command.usage}\n\n  ${command.about}\n`);
  return exitCodes.ok;
}

function unknownCommand(name: string): number {
  const meant = nearest(name, Object.keys(commands));
  process.stderr.write(`alcove: there is no command "${name}"${meant ? `; did you mean "${meant}"?` : ''} (./alcove help lists them)\n`);
  return exitCodes.usage;
}

function explain(thrown: unknown): number {
  const error = withFullDiskExplained(thrown);
  if (error instanceof BadSettings) {
    process.stderr.write(`alcove: ${error.message}\n`);
    return BadSettings.exitCode;
  }
  if (error instanceof CliFailure) {
    process.stderr.write(`\nalcove: ${error.message}\n${error.options.mend ? `        ${error.options.mend}\n` : ''}`);
    return error.exitCode;
  }
  const detail = isProblem(error) && error.detail ? ` (${error.detail})` : '';
  process.stderr.write(`\nalcove: ${messageOf(error)}${detail}\n${error instanceof Error ? `${error.stack ?? ''}\n` : ''}`);
  return exitCodes.internal;
}

/** The first Ctrl-C undoes what is half done; a second one does not wait for that. */
function interrupt(): void {
  if (interrupted) process.exit(exitCodes.interrupted);
  interrupted = true;
  if (!interrupts.isEmpty) process.stderr.write('\n  interrupted: tidying up (again to leave at once)\n');
  void interrupts.run().then((failed) => {
    if (failed.length > 0) process.stderr.write(`  could not be undone: ${failed.join(', ')}\n`);
    process.exit(exitCodes.interrupted);
  });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt);
process.stdout.on('error', () => process.exit(exitCodes.ok));
main(process.argv.slice(2)).then(
  (code) => interrupted || process.exit(code),
  (error: unknown) => interrupted || process.exit(explain(error)),
);
