import { z } from 'zod';

/** What may be queued: ids only. Each has exactly one processor (boot fails otherwise); `libs/jobs` adds queue, timeout and attempts. */
export const jobPayloads = {
  'saga.advance': z.strictObject({ sagaId: z.string(), tenantId: z.uuid() }),
  'room.reconcile': z.strictObject({ roomId: z.string(), tenantId: z.uuid() }),
  'user.destroy': z.strictObject({ userId: z.string(), tenantId: z.uuid() }),
  'memory.consolidate': z.strictObject({ userId: z.string(), tenantId: z.uuid(), consolidationId: z.string() }),
  'memory.embed': z.strictObject({ userId: z.string(), tenantId: z.uuid() }),
  'memory.index': z.strictObject({ userId: z.string(), tenantId: z.uuid() }),
} as const;
export type JobName = keyof typeof jobPayloads;
export type JobPayload<N extends JobName> = z.infer<(typeof jobPayloads)[N]>;
