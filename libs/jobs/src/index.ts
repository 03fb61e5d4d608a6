export { isJobName, jobCatalogue, jobNames, queueNames, type JobSettings, type QueueName } from './catalogue';
export { Outbox, type DispatchReport, type EnqueueOptions, type MemoryScope } from './outbox';
export { ProcessorsIncomplete, ProcessorTable, type JobProcessor } from './processors';
export { JobQueue, type Consumption, type JobContext, type JobHandler, type QueuedJob } from './queue';
export {
  defineSaga, type Saga, type SagaEnd, type SagaError, type SagaOutputs, type SagaStep, type SettledContext, type StepContext,
} from './saga';
export { SagaRunner, type SagaOutcome, type SagaRunnerOptions, type StartedSaga, type StartOptions } from './saga-runner';
export { SagaStore, type Lease, type NewSaga, type SagaProgress, type SagaRecord, type SagaState } from './saga-store';
