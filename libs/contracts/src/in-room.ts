import { limits } from '@alcove/base';
import { z } from 'zod';
import { EnvVars } from './rooms';

const path = z.string().min(1).max(limits.files.pathBytes).refine((p) => !p.includes('\0'), 'no NUL');
const userName = z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/);

export const ExecRequest = z
  .strictObject({
    command: z.union([z.string().min(1).max(limits.exec.argBytes), z.array(z.string().max(limits.exec.argBytes)).min(1).max(limits.exec.args)]).meta({ description: 'A list is run as it is; a string is run by `bash -lc`' }),
    env: EnvVars.optional(),
    cwd: path.optional(),
    user: userName.optional(),
    timeoutMs: z.int().min(1).max(limits.exec.timeoutMsMax).default(limits.exec.timeoutMsDefault),
    stdin: z.string().refine((text) => Buffer.byteLength(text) <= limits.exec.stdinBytes, `at most ${limits.exec.stdinBytes} bytes as UTF-8`).optional().meta({ description: 'Given to the command, then closed. For more, write a file' }),
    outputBytes: z.int().min(1).max(limits.exec.outputBytesMax).default(limits.exec.outputBytesDefault),
  })
  .meta({ id: 'ExecRequest' });
export type ExecRequest = z.infer<typeof ExecRequest>;

/** The events of an exec stream; `data` is base64 because a command's bytes need not be text. */
export const ExecEvent = z
  .discriminatedUnion('event', [
    z.strictObject({ event: z.literal('start'), pid: z.int() }),
    z.strictObject({ event: z.literal('stdout'), data: z.base64() }),
    z.strictObject({ event: z.literal('stderr'), data: z.base64() }),
    z.strictObject({ event: z.literal('exit'), exitCode: z.int().nullable(), signal: z.string().nullable(), timedOut: z.boolean(), truncated: z.boolean() }),
    z.strictObject({ event: z.literal('error'), code: z.string(), detail: z.string().optional() }),
  ])
  .meta({ id: 'ExecEvent' });
export type ExecEvent = z.infer<typeof ExecEvent>;

export const TerminalSize = z.strictObject({ cols: z.int().min(1).max(1000), rows: z.int().min(1).max(1000) }).meta({ id: 'TerminalSize' });
export type TerminalSize = z.infer<typeof TerminalSize>;

/** A process that lives on when nobody listens to it. `timeoutMs` absent or 0: for as long as it likes. */
export const ProcessStart = z
  .strictObject({
    command: z.array(z.string().max(limits.exec.argBytes)).min(1).max(limits.exec.args),
    env: EnvVars.optional(),
    cwd: path.optional(),
    user: userName.optional(),
    timeoutMs: z.int().min(0).max(limits.exec.timeoutMsMax).optional(),
    tag: z.string().min(1).max(limits.exec.tagChars).refine((tag) => !tag.includes('\0'), 'no NUL').optional().meta({ description: 'A name of the caller’s own for the process' }),
    stdin: z.boolean().default(false),
    pty: TerminalSize.optional().meta({ description: 'Runs on a terminal of this size; its output comes as `stdout`' }),
  })
  .meta({ id: 'ProcessStart' });
export type ProcessStart = z.infer<typeof ProcessStart>;

export const ProcessInfo = z
  .strictObject({ pid: z.int(), tag: z.string().nullable(), command: z.array(z.string()), env: z.record(z.string(), z.string()), cwd: z.string().nullable(), user: z.string(), pty: z.boolean() })
  .meta({ id: 'ProcessInfo' });
export type ProcessInfo = z.infer<typeof ProcessInfo>;
export const ProcessList = z.strictObject({ processes: z.array(ProcessInfo) }).meta({ id: 'ProcessList' });
export type ProcessList = z.infer<typeof ProcessList>;

export const FileChange = z.strictObject({ name: z.string().meta({ description: 'Relative to the watched folder' }), change: z.enum(['create', 'write', 'remove', 'rename', 'chmod']) }).meta({ id: 'FileChange' });
export type FileChange = z.infer<typeof FileChange>;

/** What a room uses, at one moment. Bytes; processor use in percent of one processor, since the sample before. */
export const RoomFigures = z
  .strictObject({
    at: z.iso.datetime(),
    cpuCount: z.int(),
    cpuUsedPct: z.number(),
    memTotal: z.int(),
    memUsed: z.int(),
    memCache: z.int(),
    diskTotal: z.int(),
    diskUsed: z.int(),
    processes: z.int(),
  })
  .meta({ id: 'RoomFigures' });
export type RoomFigures = z.infer<typeof RoomFigures>;
/** Processor use in percent of all processors together, as E2B's clients count it; two decimals. */
export function percentOfAll({ cpuUsedPct, cpuCount }: Pick<RoomFigures, 'cpuUsedPct' | 'cpuCount'>): number {
  return Math.round((100 * cpuUsedPct) / Math.max(1, cpuCount)) / 100;
}
/** The newest sample last. A host keeps those of the last `limits.hostAgent.figuresKept` per running room. */
export const RoomFiguresList = z.strictObject({ figures: z.array(RoomFigures) }).meta({ id: 'RoomFiguresList' });
export type RoomFiguresList = z.infer<typeof RoomFiguresList>;

export const FilePath = z.strictObject({ path }).meta({ id: 'FilePath' });
export const FileWriteQuery = z.strictObject({ path, mode: z.string().regex(/^0?[0-7]{3,4}$/).optional(), user: userName.optional(), makeParents: z.stringbool().default(true) });
export type FileWriteQuery = z.infer<typeof FileWriteQuery>;
export const FileReadQuery = z.strictObject({ path, offset: z.coerce.number().int().min(0).optional(), length: z.coerce.number().int().min(1).optional() });
export type FileReadQuery = z.infer<typeof FileReadQuery>;
export const FileListQuery = z.strictObject({ path, limit: z.coerce.number().int().min(1).max(limits.files.listEntries).default(1000) });
export type FileListQuery = z.infer<typeof FileListQuery>;
export const FileMove = z.strictObject({ from: path, to: path }).meta({ id: 'FileMove' });
export type FileMove = z.infer<typeof FileMove>;
export const FileRemoveQuery = z.strictObject({ path, recursive: z.stringbool().default(false) });
export type FileRemoveQuery = z.infer<typeof FileRemoveQuery>;
export const FileMakeFolder = z.strictObject({ path, mode: z.string().regex(/^0?[0-7]{3,4}$/).optional(), user: userName.optional() }).meta({ id: 'FileMakeFolder' });
export type FileMakeFolder = z.infer<typeof FileMakeFolder>;

export const FileEntry = z
  .strictObject({ name: z.string(), kind: z.enum(['file', 'directory', 'symlink', 'other']), size: z.int(), mode: z.string(), modifiedAt: z.iso.datetime(), uid: z.int(), gid: z.int(), target: z.string().nullable(), owner: z.string().optional(), group: z.string().optional(), metadata: z.record(z.string(), z.string()).optional() })
  .meta({ id: 'FileEntry' });
export type FileEntry = z.infer<typeof FileEntry>;
export const FileList = z.strictObject({ entries: z.array(FileEntry), truncated: z.boolean() }).meta({ id: 'FileList' });
export type FileList = z.infer<typeof FileList>;

export const LogsQuery = z.strictObject({ follow: z.stringbool().default(false), tailBytes: z.coerce.number().int().min(0).max(limits.logs.tailBytesMax).default(limits.logs.tailBytesDefault) });
export type LogsQuery = z.infer<typeof LogsQuery>;

/** AgentCore names the session of every invocation; an invocation that names none belongs to the room's own, named like the room. */
export const sessionHeader = 'x-amzn-bedrock-agentcore-runtime-session-id';

/**
 * Which headers of an invocation pass between the caller and the agent; everything else stays outside. The prefix is AWS Bedrock AgentCore's: session id, user id,
 * custom headers.
 */
export const invocationHeaders = {
  toAgent: /^(content-type|accept|accept-language|traceparent|x-amzn-bedrock-agentcore-[a-z0-9-]{1,64})$/,
  fromAgent: /^(content-type|content-length|cache-control|x-amzn-bedrock-agentcore-[a-z0-9-]{1,64})$/,
} as const;
