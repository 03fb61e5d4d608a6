export { BullQueue, defaultQueueSchema, type BullQueueOptions, type QueueBackend } from './bull-queue';
export { isJobName, jobCatalogue, jobNames, queueNames, type JobSettings, type QueueName } from './catalogue';
export { JobWorker } from './job-worker';
export { JobsModule, type JobsModuleOptions } from './jobs.module';
export { MemoryOutbox } from './memory-outbox';
export { MemoryQueue } from './memory-queue';
export { MemorySagaStore } from './memory-saga-store';
export { assertJobsReady, migrateJobs } from './migrate-jobs';
export { Outbox, type DispatchReport, type EnqueueOptions, type MemoryScope } from './outbox';
export { OutboxDispatcher, type DispatcherOptions } from './outbox-dispatcher';
export { PostgresOutbox } from './postgres-outbox';
export { PostgresSagaStore } from './postgres-saga-store';
export { ProcessorsIncomplete, ProcessorTable, type AnyProcessor, type JobProcessor } from './processors';
export { JobQueue, type Consumption, type JobContext, type JobHandler, type QueuedJob } from './queue';
export { queueBackend } from './queue-setting';
export { ReconcilerDriver, type Locks, type Reconciler, type ReconcilerDriverOptions, type ReconcileReport } from './reconciler-driver';
export {
  defineSaga, type Saga, type SagaEnd, type SagaError, type SagaOutputs, type SagaStep, type SettledContext, type StepContext,
} from './saga';
export { SagaRunner, type SagaOutcome, type SagaRunnerOptions, type StartedSaga, type StartOptions } from './saga-runner';
export { SagaStore, type Lease, type NewSaga, type SagaProgress, type SagaRecord, type SagaState } from './saga-store';
export { jobsReconcilers, sagaProcessor, type UpkeepParts } from './upkeep';
