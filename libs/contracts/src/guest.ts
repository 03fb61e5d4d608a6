/** The guest channel's numbers (rootfs/guest-agent/PROTOCOL.md is the text). */
export const guestProtocol = {
  version: 1,
  portName: 'alcove.0',
  magic: Buffer.from([0xff, 0xff, 0xff, 0xff, 0x41, 0x4c, 0x43, 0x4f, 0x56, 0x45, 0x2f, 0x31, 0x0d, 0x0a, 0x1a, 0x00]),
  frame: { open: 1, data: 2, end: 3, reset: 4, window: 5, ping: 6, pong: 7 },
  lane: { bytes: 0, stderr: 1, message: 2 },
} as const;

export const resetCodes = ['cancelled', 'busy', 'flow', 'protocol', 'not_found', 'denied', 'exists', 'not_a_directory', 'is_a_directory', 'not_empty', 'no_space', 'io', 'timeout', 'limit', 'unsupported', 'invalid', 'refused'] as const;
export type ResetCode = (typeof resetCodes)[number];

export const claimModes = ['fresh', 'resumed', 'disk'] as const;
export type ClaimMode = (typeof claimModes)[number];
