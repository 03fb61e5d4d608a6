import { parseArguments, type FlagTable, type ParsedArguments } from './arguments';
import type { Context } from './context';
import { exitCodes } from './failure';
import { bringUp } from './platform/bring-up';
import { takeDown } from './platform/down';
import { showLogs } from './platform/logs';
import { showStatus } from './platform/status';
import { setUp } from './setup/setup';

/** One word behind `./alcove`. */
export interface CommandSpec {
  usage: string;
  /** What `help NAME` says below the usage. */
  about: string;
  flags: FlagTable;
  words: { min: number; max: number };
  run(context: Context, args: ParsedArguments): Promise<number>;
}

const yes = { yes: { type: 'boolean', short: 'y' } } as const;
const json = { json: { type: 'boolean' } } as const;
const noWords = { min: 0, max: 0 };

export const commands: Record<string, CommandSpec> = {
  setup: {
    usage: 'setup [--yes]',
    about: 'Installs and builds what is missing: machine packages, keys, certificates, the guest, the default template.',
    flags: yes,
    words: noWords,
    run: async (context, args) => {
      await setUp(context, { yes: args.has('yes') });
      return exitCodes.ok;
    },
  },
  up: {
    usage: 'up [--yes] [--json]',
    about: 'Starts the platform and leaves it running; prints the URL, a development key and three curl lines.',
    flags: { ...yes, ...json },
    words: noWords,
    run: async (context, args) => {
      await bringUp(context, { yes: args.has('yes'), json: args.has('json') });
      return exitCodes.ok;
    },
  },
  down: {
    usage: 'down [--now]',
    about: 'Puts running rooms to sleep and stops the platform. --now: stops at once; rooms that run go on running and are adopted at the next start. Data stays.',
    flags: { now: { type: 'boolean' } },
    words: noWords,
    run: async (context, args) => {
      await takeDown(context, args.has('now'));
      return exitCodes.ok;
    },
  },
  status: {
    usage: 'status [--json]',
    about: 'What runs, and where. Exit code 0 when everything is ready.',
    flags: json,
    words: noWords,
    run: (context, args) => showStatus(context, args.has('json')),
  },
  logs: {
    usage: 'logs [supervisor|postgres|api|worker|host] [--follow] [--lines N]',
    about: "What the platform's processes say.",
    flags: { follow: { type: 'boolean', short: 'f' }, lines: { type: 'string', short: 'n' } },
    words: { min: 0, max: 1 },
    run: async (context, args) => {
      await showLogs(context, args.words[0], { follow: args.has('follow'), lines: args.count('lines', 50) });
      return exitCodes.ok;
    },
  },
};

/** Parses the arguments of a known command and runs it; resolves with the exit code. */
export async function runCommand(command: CommandSpec, context: Context, args: string[]): Promise<number> {
  return command.run(context, parseArguments(args, command.flags, command.words));
}
