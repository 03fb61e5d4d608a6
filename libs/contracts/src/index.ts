export { claimModes, guestProtocol, resetCodes, type ClaimMode, type ResetCode } from './guest';
export { DoorAnswer, DoorCall, doorHeaders, DoorName, doorNames, doorPath, doorPathPattern, doors, problemAnswer, type DoorRoute, type MemoryDoorRoute } from './doors';
export { edgePaths, EdgeRoute, EdgeRouteAsked, EdgeWakeAsked } from './edge';
export {
  Capacity, CopiedReport, EnsureCopied, EnsureGone, EnsureRunning, EnsureSealed, Fallback, GoneReport, Heartbeat, HeartbeatAnswer, HostDescription, HostState, ImageRef, Incarnation,
  IncarnationPhase, IncarnationState, RoomKeys, RunningReport, SealedReport,
} from './host-api';
export {
  ExecEvent, ExecRequest, FileChange, FileEntry, FileList, FileListQuery, FileMakeFolder, FileMove, FilePath, FileReadQuery, FileRemoveQuery, FileWriteQuery, LogsQuery,
  invocationHeaders, percentOfAll, ProcessInfo, ProcessList, ProcessStart, RoomFigures, RoomFiguresList, sessionHeader, TerminalSize,
} from './in-room';
export { jobPayloads, type JobName, type JobPayload } from './jobs';
export {
  AddMemory, AddMemoryEvent, BlockLabel, ChangeMemory, Consolidation, ConsolidationId, EmbeddingsEndpoint, ModelEndpoint, EvidenceId, ListMemories, ListMemoryAccesses, ListMemoryEvents, Memory, MemoryAccess,
  MemoryAccessPage, MemoryBlocks, MemoryEvent, MemoryEventId, MemoryEventPage, MemoryHistory, MemoryHits, MemoryId, MemoryKind, memoryKinds, MemoryPage, MemoryPolicy, MemoryRemoved, MemorySource,
  MemoryUsage, RemoveMemory, SealMemoryExport, SearchMemory, SearchMode, searchModes, SetBlock, SetMemoryPolicy, TrustLabel, trustLabels,
} from './memory';
export { isProblem, Problem, type ProblemBody, type ProblemOptions } from './problem';
export { problemCodes, type ProblemCode } from './problem-codes';
export { DestroyedKey, ErasedObject, erasedKinds, ErasureEvidence, ErasureReceipt, NotCovered, SignedReceipt } from './receipts';
export {
  CreateRoom, CreateSnapshot, EnvName, EnvVars, ForkRoom, Isolation, ListRooms, ListSnapshots, Metadata, resumeLevels, Room, RoomEvent, RoomIdSchema, roomKinds, RoomLifecycle, RoomNetwork, RoomPage, RoomSize,
  roomStates, Snapshot, SnapshotId, SnapshotPage, TemplateName, UserId, WakeAnswer, wantedStates, type ResumedFrom, type RoomAccess, type RoomEnding, type RoomKind, type RoomState, type Wanted,
} from './rooms';
export {
  BadSettings, controlPlaneSettings, describeKeys, keysConfig, qdrantConfig, type KeysConfig, type QdrantConfig, ListenAddress, LogLevel, QueueSetting, readSettings, readTlsIdentity, startFailure, tlsSettings, withoutCredentials, type TlsIdentity,
} from './settings';
export { roomIdOf, sandboxIdOf } from './sandbox-id';
export { TemplateManifest, TemplateRecipe } from './template';
export {
  ApiKey, ChangeTenant, CreateApiKey, CreateTenant, DestroyedUser, Erasure, ListUsers, NewApiKey, RotateApiKey, Scope, scopes, Tenant, TenantPage, User, UserPage, type Principal,
} from './tenants';
export { KeyRotation, RotationId, SetKeyProvider, TenantKeyProvider, UserKeyRotation } from './key-provider';
export { RoomHold } from './rooms';
