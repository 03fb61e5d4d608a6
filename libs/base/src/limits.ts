/** What one line of a host's report may take as JSON, with an image in it; the schema of a beat (libs/contracts) allows no more. */
const reportLineBytes = 1 << 10;
/** How many lines: of what runs on the host, and of what ended there since the last beat. */
const reportLines = { incarnations: 10_000, ended: 2_000 };

/** Every bound in one place. Units are in the names. */
export const limits = {
  http: { bodyBytes: 1 << 20, invocationBodyBytes: 8 << 20, fileBytes: 1 << 30, headerBytes: 32 << 10, ssePingMs: 15_000, bodyIdleMs: 30_000, closeMs: 10_000, processCloseMs: 15_000, idempotencyKeyChars: 128, idempotencyTtlMs: 24 * 3600_000 },
  /** A terminal over WebSocket: one message, what waits to be typed, a message of words. */
  terminal: { messageBytes: 256 << 10, queueBytes: 1 << 20, textBytes: 1 << 10, partingMs: 1_000 },
  page: { default: 50, max: 200 },
  room: { metadataKeys: 32, metadataKeyChars: 64, metadataValueChars: 512, metadataBytes: 8192, envVars: 64, envNameChars: 128, envValueBytes: 16 << 10, envBytes: 48 << 10, memoryMiBMin: 256, memoryMiBMax: 8192, diskMiBMax: 64 << 10, vcpusMax: 8, userIdChars: 128, roomsPerUser: 1, sandboxesPerUser: 100, snapshotsPerUser: 100, snapshotNameChars: 128, forks: 16, holders: 64, timeoutMsMax: 366 * 24 * 3600_000, sandboxTimeoutMs: 300_000, autoResumeMs: 300_000, networkTargets: 256, networkTargetChars: 256, networkRules: 10, networkHeaders: 20 },
  channel: { frameBytes: 65_536, headerBytes: 12, windowBytes: 262_144, streams: 256, syncScanBytes: 1 << 20, syncTimeoutMs: 1000, syncAttempts: 5, fieldsCount: 1024, fieldNameChars: 32, pingBytes: 64, controlBytes: 1 << 20, strayBytes: 4 << 20, queueSegments: 64 },
  /** What the host waits for, and takes, from a guest. */
  guest: { claimMs: 30_000, readyMs: 120_000, quiesceMs: 60_000, statsMs: 10_000, execGraceMs: 10_000, onForkMs: 30_000, listBytes: 8 << 20, processes: 1024, detailChars: 200 },
  exec: { args: 256, argBytes: 32 << 10, timeoutMsDefault: 60_000, timeoutMsMax: 24 * 3600_000, outputBytesDefault: 16 << 20, outputBytesMax: 1 << 30, stdinBytes: 1 << 20, tagChars: 256 },
  files: { pathBytes: 4096, listEntries: 10_000, listDepth: 64, metadataBytes: 4096, watchQueue: 4096, watchQueueBytes: 2 << 20 },
  logs: { tailBytesMax: 4 << 20, tailBytesDefault: 64 << 10 },
  image: { headerBytes: 4096, chunkBytes: 1 << 20, chunks: 1 << 16, deviceStateBytes: 16 << 20 },
  agent: { invocationMs: 15 * 60_000 },
  move: { provisionMs: 120_000, resumeMs: 60_000, hibernateMs: 120_000, copyMs: 180_000, destroyMs: 60_000, wakeWaitMs: 90_000 },
  boot: { deadlineMs: 25_000, attempts: 3 },
  host: { heartbeatMs: 2_000, leaseMs: 15_000, leaseMarginMs: 5_000, incarnations: reportLines.incarnations, ended: reportLines.ended, reportBytes: (reportLines.incarnations + reportLines.ended) * reportLineBytes + (1 << 20), orphanGraceMs: 20_000, requestBytes: 4 << 20, connectTimeoutMs: 2_000 },
  template: { tags: 1_000, tagsPerCall: 32, tagChars: 128 },
  /** Inside one host agent: queues, its journal, how long it waits for a guest. `portsPerRoom`, `ports` (of all rooms), `edgeConnections`: what strangers may have; `edgeRefusals`: how many beyond are told so; the rest is left for the room's owner and the control plane. */
  hostAgent: {
    queuePerRoom: 16, streamsPerRoom: 128, portsPerRoom: 96, connections: 2048, edgeConnections: 1536, edgeRefusals: 64, ports: 768, journalBytes: 8 << 20, journalRecordBytes: 16 << 10, journalRooms: 50_000,
    guestPingMs: 10_000, guestPingTimeoutMs: 5_000, guestPingFailures: 3, channelRecoveries: 3, channelSteadyMs: 5 * 60_000, recoverMs: 10_000, decideMs: 2_000, recoversAtOnce: 8,
    agentConnectMs: 60_000, agentHeaderBytes: 16 << 10, abandonMs: 5_000, sealsAtOnce: 4, figuresMs: 5_000, figuresKept: 720, shutdownMs: 5_000, lingerMs: 5_000,
  },
  /**
   * The proxy in front of rooms. `exchangesPerKind`: of all `exchanges`, those of strangers in rooms and those with the API each; of a room, `exchangesPerRoom` are its owner's beside
   * `strangersPerRoom`; one address has `connectionsPerAddress`, and on them `exchangesPerAddress` that have shown no room's token. `smallBodyBytes`: a body whose length is said to be at most so much is read whole before it is sent on, so that it
   * can be sent again; it comes within `http.bodyIdleMs` from piece to piece and `smallBodyMs` in all. `questions`, `wakes`: to the control plane at once.
   */
  edge: {
    connections: 8192, connectionsPerAddress: 1024, streamsPerSession: 512, exchanges: 10_000, exchangesPerKind: 4_000, exchangesPerAddress: 1024, exchangesPerRoom: 1024, strangersPerRoom: 512, headerPairs: 256, pathBytes: 16 << 10, streamWindowBytes: 1 << 20, sessionWindowBytes: 8 << 20, sessionMemoryMiB: 64, smallBodyBytes: 64 << 10, smallBodyMs: 60_000,
    routeMs: 1_000, routesKept: 10_000, askMs: 5_000, questions: 32, wakes: 256, answerBytes: 64 << 10, connectMs: 5_000, headersMs: 30_000, idleMs: 15 * 60_000, sessionIdleMs: 5 * 60_000, keepAliveMs: 75_000,
    tunnelIdleMs: 5_000, tunnelsFree: 4, lingerMs: 5_000, closeMs: 10_000,
  },
  /** Of one user unless said otherwise. `openBytes`: what one process keeps of the memory of users in RAM, opened. `segmentEntries`: how many records are sealed together. */
  memory: {
    contentBytes: 64 << 10, titleChars: 256, tags: 32, tagChars: 64, refChars: 512, evidence: 64, labelChars: 64, blockBytes: 8 << 10, blocks: 32, sessionChars: 128, purposeChars: 64,
    queryChars: 4096, hits: 100, recordsPerUser: 200_000, bytesPerUser: 1 << 30, eventsPerUser: 50_000, eventRetentionMs: 30 * 24 * 3600_000, eventRetentionMsMax: 365 * 24 * 3600_000,
    versionsKept: 32, accessKeptMs: 90 * 24 * 3600_000, cascade: 10_000, dimensions: 4096, embedBatch: 64, embedMs: 10_000, embedAnswerBytes: 32 << 20,
    openBytes: 1 << 30, segmentEntries: 512, pendingEntries: 128, addedAtOnce: 500, wordsIndexed: 2048, partsIndexed: 2048,
    modelMs: 120_000, modelAnswerBytes: 1 << 20, modelTextBytes: 32 << 10, modelProposals: 256, proposalChars: 1000,
    overFetch: 50, fetchedAtMost: 1000, qdrantMs: 20_000, qdrantQueryMs: 2_000, qdrantPauseMs: 5_000, qdrantLeaseMs: 90_000, qdrantPoints: 500, qdrantNumbers: 200_000, qdrantRounds: 16,
  },
  /**
   * Doors of one room, in its host: connections, their headers and bodies, how long each part may take, requests and connections in a minute; `atOnce`: of all rooms of a host together.
   * `reads`, `writes`: in a minute, counted by each control-plane process. `drainMs`: what a request is given to be answered before the room sleeps.
   */
  doors: {
    connections: 16, atOnce: 64, atOncePerRoom: 8, requestsPerMinute: 600, connectionsPerMinute: 600, headerBytes: 16 << 10, headerChars: 1024, headers: 64, paramChars: 128, queryBytes: 2048, bodyBytes: 1 << 20, answerBytes: 4 << 20,
    headersMs: 10_000, requestMs: 30_000, idleMs: 60_000, drainMs: 1_000, retryMs: 30_000, reads: 300, writes: 60,
  },
  retry: { attempts: 8, firstDelayMs: 250, maxDelayMs: 30_000 },
  saga: { leaseMs: 30_000, stepAttempts: 5 },
  reconciler: { everyMs: 2_000, expiredEveryMs: 500, batch: 200 },
  key: { ratePerSecond: 50, burst: 200, concurrent: 64 },
} as const;
