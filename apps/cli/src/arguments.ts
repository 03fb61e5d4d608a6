import { parseArgs, type ParseArgsConfig } from 'node:util';
import { CliFailure, exitCodes, messageOf } from './failure';

export type FlagTable = NonNullable<ParseArgsConfig['options']>;

export interface ParsedArguments {
  words: string[];
  has(flag: string): boolean;
  value(flag: string): string | undefined;
  /** The flag as a whole number of at least 1. Throws CliFailure (64) when it is something else. */
  count(flag: string, fallback: number): number;
}

/** Parses a command's arguments by its table of flags. Throws CliFailure (64) for anything the table does not have. */
export function parseArguments(args: string[], flags: FlagTable, words: { min: number; max: number }): ParsedArguments {
  const parsed = parse(args, flags);
  if (parsed.positionals.length < words.min) throw usage('something is missing');
  if (parsed.positionals.length > words.max) throw usage(`"${parsed.positionals[words.max]}" is one word too many`);
  const value = (flag: string): string | undefined => {
    const given = parsed.values[flag];
    return typeof given === 'string' ? given : undefined;
  };
  return {
    words: parsed.positionals,
    has: (flag) => parsed.values[flag] === true,
    value,
    count: (flag, fallback) => {
      const given = value(flag);
      if (given === undefined) return fallback;
      if (!/^[1-9]\d{0,6}$/.test(given)) throw usage(`--${flag} takes a whole number of at least 1`);
      return Number(given);
    },
  };
}

function parse(args: string[], flags: FlagTable): { values: Record<string, unknown>; positionals: string[] } {
  try {
    return parseArgs({ args, options: flags, allowPositionals: true, strict: true });
  } catch (error) {
    throw usage(messageOf(error).replace(/\. To specify a positional.*$/s, ''));
  }
}

function usage(message: string): CliFailure {
  return new CliFailure(message, { exitCode: exitCodes.usage });
}

/** The known name closest to what was typed, when it is close enough to be a slip of the finger. */
export function nearest(typed: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((name) => ({ name, distance: name.startsWith(typed) && typed !== '' ? 1 : editDistance(typed, name) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(1, Math.floor(best.name.length / 2)) ? best.name : undefined;
}

/** Levenshtein distance, where swapping two neighbours counts once (Damerau, restricted). */
export function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const cell = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(cell(i - 1, j) + 1, cell(i, j - 1) + 1, cell(i - 1, j - 1) + cost);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) least = Math.min(least, cell(i - 2, j - 2) + 1);
      row.push(least);
    }
  }
  return cell(a.length, b.length);
}
