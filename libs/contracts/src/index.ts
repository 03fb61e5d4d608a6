export { claimModes, guestProtocol, resetCodes, type ClaimMode, type ResetCode } from './guest';
export { edgePaths, EdgeRoute, EdgeRouteAsked, EdgeWakeAsked } from './edge';
export {
  Capacity, CopiedReport, EnsureCopied, EnsureGone, EnsureRunning, EnsureSealed, Fallback, GoneReport, Heartbeat, HeartbeatAnswer, HostDescription, HostState, ImageRef, Incarnation,
  IncarnationPhase, IncarnationState, RoomKeys, RunningReport, SealedReport,
} from './host-api';
export {
  ExecEvent, ExecRequest, FileChange, FileEntry, FileList, FileListQuery, FileMakeFolder, FileMove, FilePath, FileReadQuery, FileRemoveQuery, FileWriteQuery, LogsQuery,
  invocationHeaders, ProcessInfo, ProcessList, ProcessStart, RoomFigures, RoomFiguresList, sessionHeader, TerminalSize,
} from './in-room';
export { jobPayloads, type JobName, type JobPayload } from './jobs';
export { isProblem, Problem, type ProblemBody, type ProblemOptions } from './problem';
export { problemCodes, type ProblemCode } from './problem-codes';
export {
  CreateRoom, CreateSnapshot, EnvName, EnvVars, ForkRoom, Isolation, ListRooms, ListSnapshots, Metadata, resumeLevels, Room, RoomEvent, RoomIdSchema, roomKinds, RoomLifecycle, RoomNetwork, RoomPage, RoomSize,
  roomStates, Snapshot, SnapshotId, SnapshotPage, TemplateName, UserId, WakeAnswer, wantedStates, type ResumedFrom, type RoomAccess, type RoomEnding, type RoomKind, type RoomState, type Wanted,
} from './rooms';
export {
  BadSettings, controlPlaneSettings, ListenAddress, LogLevel, QueueSetting, readSettings, readTlsIdentity, startFailure, tlsSettings, withoutCredentials, type TlsIdentity,
} from './settings';
export { roomIdOf, sandboxIdOf } from './sandbox-id';
export { TemplateManifest, TemplateRecipe } from './template';
export {
  ApiKey, ChangeTenant, CreateApiKey, CreateTenant, ListUsers, NewApiKey, RotateApiKey, Scope, scopes, Tenant, TenantPage, User, UserPage, type Principal,
} from './tenants';
