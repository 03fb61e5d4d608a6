import type { CliConfig } from './cli.config';
import { homePaths, type HomePaths } from './home';
import { Interrupts } from './interrupts';
import { Progress, styleFor, type Style } from './terminal';

/** What every command gets: where things are and how to speak. Progress and warnings go to standard error, answers to standard output. */
export interface Context {
  config: CliConfig;
  paths: HomePaths;
  progress: Progress;
  style: Style;
  print(text: string): void;
  /** What Ctrl-C has to undo while a command runs, last in first out. The result takes it off the list. */
  onInterrupt(name: string, undo: () => Promise<unknown>): () => void;
}

export function makeContext(config: CliConfig, interrupts: Interrupts = new Interrupts()): Context {
  return {
    config,
    paths: homePaths(config.home),
    progress: new Progress(process.stderr, config.colour),
    style: styleFor(config.colour),
    print: (text) => void process.stdout.write(text.endsWith('\n') ? text : `${text}\n`),
    onInterrupt: (name, undo) => interrupts.add(name, undo),
  };
}
