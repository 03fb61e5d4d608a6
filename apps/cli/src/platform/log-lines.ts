import { z } from 'zod';

const levels: Record<number, string> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'ERROR', 60: 'FATAL' };
const LogLine = z.looseObject({ level: z.number(), time: z.number(), name: z.string(), msg: z.string().default('') });
const valueChars = 200;

/** A line of a process's JSON log as a person reads it: time, level, process, message, then the rest as `key=value`. Any other line is returned as it is. */
export function readable(line: string): string {
  const parsed = parse(line);
  if (!parsed) return line;
  const { level, time, name, msg, ...rest } = parsed;
  const clock = new Date(time).toISOString().slice(11, 23);
  const details = Object.entries(rest).map(([key, value]) => `${key}=${brief(key, value)}`);
  return [clock, (levels[level] ?? String(level)).padEnd(5), name.padEnd(10), msg, ...details].join(' ').trimEnd();
}

function parse(line: string): z.infer<typeof LogLine> | null {
  if (!line.startsWith('{')) return null;
  try {
    return LogLine.parse(JSON.parse(line));
  } catch {
    return null;
  }
}

/** Of an error its message only: the stack is in the file. */
function brief(key: string, value: unknown): string {
  const message = key === 'err' || key === 'error' ? (value as { message?: unknown } | null)?.message : undefined;
  const text = typeof message === 'string' ? message : typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > valueChars ? `${text.slice(0, valueChars)}…` : text;
}
