import { parseArguments, type FlagTable, type ParsedArguments } from './arguments';
import { benchmarks, runBenchmark } from './checks/bench';
import { lint, runTests } from './checks/run-tests';
import { bashCompletion } from './completion';
import type { Context } from './context';
import { playDemo } from './demo/demo';
import { examine } from './doctor/doctor';
import { CliFailure, exitCodes } from './failure';
import { bringUp } from './platform/bring-up';
import { takeDown } from './platform/down';
import { logNames, showLogs } from './platform/logs';
import { showStatus } from './platform/status';
import { showReceiptKey, verifyReceiptFile } from './receipts/receipt-commands';
import { setUp } from './setup/setup';
import { buildFromFolder, listTemplates } from './templates/template-commands';

/** One word behind `./alcove`. */
export interface CommandSpec {
  usage: string;
  /** What `help NAME` says below the usage. */
  about: string;
  flags: FlagTable;
  words: { min: number; max: number };
  /** Words that the shell offers behind the command. */
  completions?: readonly string[];
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
    about: "Starts the platform and leaves it running; prints the URL, a development key, three curl lines and what E2B's SDK needs in its environment.",
    flags: { ...yes, ...json },
    words: noWords,
    run: async (context, args) => {
      await bringUp(context, { yes: args.has('yes'), json: args.has('json') });
      return exitCodes.ok;
    },
  },
  down: {
    usage: 'down [--now]',
    about: 'Puts running rooms to sleep and stops the platform. --now: stops at once; rooms that run are adopted by a start within 15 s, and are ended after that: they wake from their disk. Data stays.',
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
    usage: 'logs [supervisor|postgres|api|worker|host|edge] [--follow] [--lines N] [--json]',
    about: "What the platform's processes say; --json: the lines as they were written.",
    flags: { follow: { type: 'boolean', short: 'f' }, lines: { type: 'string', short: 'n' }, ...json },
    words: { min: 0, max: 1 },
    completions: logNames,
    run: async (context, args) => {
      await showLogs(context, args.words[0], { follow: args.has('follow'), lines: args.count('lines', 50), raw: args.has('json') });
      return exitCodes.ok;
    },
  },
  demo: {
    usage: 'demo [--yes]',
    about: 'Two users move in, talk, sleep, wake, survive a crash and move out, through the public API, with the milliseconds of each step. Exit code 1 when a claim is not so.',
    flags: yes,
    words: noWords,
    run: (context, args) => playDemo(context, { yes: args.has('yes') }),
  },
  template: {
    usage: 'template build DIR [--name NAME] [--yes] [--json] | template list [--json]',
    about: 'Makes a template from a folder with alcove.template.json, or lists the templates of this machine. A new version is added beside the old ones.',
    flags: { name: { type: 'string' }, ...yes, ...json },
    words: { min: 1, max: 2 },
    completions: ['build', 'list'],
    run: (context, args) => {
      const [action, folder] = args.words;
      const name = args.value('name');
      if (action === 'list' && folder === undefined) return listTemplates(context, args.has('json'));
      if (action === 'build' && folder !== undefined) return buildFromFolder(context, folder, { ...(name !== undefined && { name }), yes: args.has('yes'), json: args.has('json') });
      throw new CliFailure('template takes "build DIR" or "list"', { exitCode: exitCodes.usage });
    },
  },
  receipt: {
    usage: 'receipt verify FILE [--key PEM] [--json] | receipt key [--json]',
    about: "Checks the receipt of an erasure, asking nobody: exit code 0 when it is as it was signed. --key: the file of the platform's public key, which `receipt key` prints; without it, that of this home.",
    flags: { key: { type: 'string' }, ...json },
    words: { min: 1, max: 2 },
    completions: ['verify', 'key'],
    run: (context, args) => {
      const [action, file] = args.words;
      if (action === 'verify' && file !== undefined) return verifyReceiptFile(context, file, { keyFile: args.value('key'), json: args.has('json') });
      if (action === 'key' && file === undefined && args.value('key') === undefined) return showReceiptKey(context, args.has('json'));
      throw new CliFailure('receipt takes "verify FILE" or "key"', { exitCode: exitCodes.usage });
    },
  },
  doctor: {
    usage: 'doctor [--json]',
    about: 'What this machine can do, what is wrong with it and how to mend that. Boots a tiny guest to find out. Exit code 1 when rooms cannot run here.',
    flags: json,
    words: noWords,
    run: (context, args) => examine(context, args.has('json')),
  },
  test: {
    usage: 'test [--fast | --all] [--kvm] [--yes]',
    about: 'Runs the tests: types, house rules, units, database, rooms on real VMs. --fast: only what needs neither database nor VM. --all: also what is slow. --kvm: also the KVM path.',
    flags: { fast: { type: 'boolean' }, all: { type: 'boolean' }, kvm: { type: 'boolean' }, ...yes },
    words: noWords,
    run: (context, args) => runTests(context, { fast: args.has('fast'), all: args.has('all'), kvm: args.has('kvm'), yes: args.has('yes') }),
  },
  bench: {
    usage: 'bench [wake|hibernate|provision|density|e2b|vault|vector-privacy] [--samples N] [--json] [--yes]',
    about: 'Measures rooms through the public API, and parts of the platform by themselves, with targets. At least 30 samples are needed for figures to mean something; --samples N for a quick try. Without a name: the list.',
    flags: { samples: { type: 'string' }, ...json, ...yes },
    words: { min: 0, max: 1 },
    completions: Object.keys(benchmarks),
    run: (context, args) => runBenchmark(context, args.words[0], { samples: args.count('samples', 30), json: args.has('json'), yes: args.has('yes') }),
  },
  lint: {
    usage: 'lint',
    about: 'Type check and house rules.',
    flags: {},
    words: noWords,
    run: (context) => lint(context),
  },
  completion: {
    usage: 'completion bash',
    about: 'Prints completion for the shell: eval "$(./alcove completion bash)".',
    flags: {},
    words: { min: 1, max: 1 },
    completions: ['bash'],
    run: (context, args) => {
      if (args.words[0] !== 'bash') throw new CliFailure(`there is no completion for ${args.words[0] ?? 'that'}`, { mend: 'there is one for bash', exitCode: exitCodes.usage });
      context.print(bashCompletion(commands));
      return Promise.resolve(exitCodes.ok);
    },
  },
};

/** Parses the arguments of a known command and runs it; resolves with the exit code. */
export async function runCommand(command: CommandSpec, context: Context, args: string[]): Promise<number> {
  return command.run(context, parseArguments(args, command.flags, command.words));
}
