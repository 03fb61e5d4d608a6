import type { Prisma } from './generated/client';

/** One open transaction. What a store takes; it sees what withTenant() or asSystem() let it see. */
export type Tx = Prisma.TransactionClient;

/** A value that fits a jsonb column. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
