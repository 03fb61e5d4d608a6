import { errorCode } from '@alcove/base';

/** The database could not be reached, or the connection was lost. Nothing is known to be wrong with the request: the caller may try again later. */
export class DbUnavailable extends Error {
  override readonly name = 'DbUnavailable';
  constructor(
    /** True when the connection was lost while committing: the work may have been done. */
    readonly maybeCommitted: boolean,
    cause: unknown,
  ) {
    super(maybeCommitted ? 'the database was lost while committing' : 'the database cannot be reached', { cause });
  }
}

/** How a transaction failed, as far as trying again is concerned. */
export type Failure = 'conflict' | 'connection' | 'other';

/** PostgreSQL: serialization_failure, deadlock_detected. */
const conflictStates = ['40001', '40P01'];
/** PostgreSQL class 08 and 57P: the server goes away, is starting, or has no slot left (53300). */
const connectionStates = ['08000', '08003', '08006', '57P01', '57P02', '57P03', '53300'];
const socketCodes = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN'];
const adapterConflicts = ['TransactionWriteConflict'];
const adapterLosses = ['DatabaseNotReachable', 'ConnectionClosed', 'SocketTimeout', 'TooManyConnections'];
/** Prisma: P2034 write conflict; P1001, P1002, P1008, P1017 unreachable or lost; P2024 no free connection; P2028 the transaction could not start or is gone. */
const prismaConflicts = ['P2034'];
const prismaLosses = ['P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2028'];

interface ErrorShape {
  code?: unknown;
  cause?: unknown;
  kind?: unknown;
  originalCode?: unknown;
  meta?: { driverAdapterError?: unknown };
}

/** The error and everything it was made from: Prisma wraps the adapter's error, which wraps the driver's. */
function* layers(error: unknown): Generator<ErrorShape> {
  const seen = new Set<unknown>();
  const waiting: unknown[] = [error];
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (typeof next !== 'object' || next === null || seen.has(next)) continue;
    seen.add(next);
    const shape = next as ErrorShape;
    yield shape;
    waiting.push(shape.cause, shape.meta?.driverAdapterError);
  }
}

function has(values: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && values.includes(value);
}

/** Tells a lost race and a lost connection from everything else, by code only. */
export function classify(error: unknown): Failure {
  let lost = false;
  for (const layer of layers(error)) {
    if (has(prismaConflicts, layer.code) || has(conflictStates, layer.code) || has(conflictStates, layer.originalCode) || has(adapterConflicts, layer.kind)) return 'conflict';
    if (has(prismaLosses, layer.code) || has(socketCodes, layer.code) || has(connectionStates, layer.code)) lost = true;
    if (has(connectionStates, layer.originalCode) || has(adapterLosses, layer.kind)) lost = true;
  }
  return lost ? 'connection' : 'other';
}

/** True when the error is the breach of a unique constraint or primary key, from a model call or from raw SQL. */
export function isUniqueViolation(error: unknown): boolean {
  for (const layer of layers(error)) {
    if (layer.code === 'P2002' || layer.kind === 'UniqueConstraintViolation' || layer.originalCode === '23505') return true;
  }
  return errorCode(error) === '23505';
}
