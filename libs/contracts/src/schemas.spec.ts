import { limits } from '@alcove/base';
import { Heartbeat, type HeartbeatAnswer } from './host-api';
import { ExecRequest } from './in-room';
import { EnvVars, Metadata } from './rooms';
import { ChangeTenant } from './tenants';

const name = (chars: number, i: number): string => String(i).padStart(chars, 'k');

describe('what a caller may send', () => {
  it('has metadata of a bounded size, whatever its keys', () => {
    const pairs = (count: number, value: string) => Object.fromEntries(Array.from({ length: count }, (_, i) => [name(8, i), value]));
    expect(Metadata.safeParse(pairs(15, 'v'.repeat(500))).success).toBe(true);
    expect(Metadata.safeParse(pairs(17, 'v'.repeat(500))).success).toBe(false);
    // Counted as UTF-8.
    expect(Metadata.safeParse(pairs(15, 'ü'.repeat(500))).success).toBe(false);
  });

  it('has names of variables of a bounded length', () => {
    expect(EnvVars.safeParse({ ['A'.repeat(limits.room.envNameChars)]: '1' }).success).toBe(true);
    expect(EnvVars.safeParse({ ['A'.repeat(limits.room.envNameChars + 1)]: '1' }).success).toBe(false);
    expect(EnvVars.safeParse({ '1A': '1' }).success).toBe(false);
  });

  it('has standard input of a bounded size', () => {
    expect(ExecRequest.safeParse({ command: ['cat'], stdin: 'x'.repeat(limits.exec.stdinBytes) }).success).toBe(true);
    expect(ExecRequest.safeParse({ command: ['cat'], stdin: 'ü'.repeat(limits.exec.stdinBytes / 2 + 1) }).success).toBe(false);
  });

  it('has defaults for rooms that do not contradict themselves', () => {
    const taken = (sandbox: object) => ChangeTenant.safeParse({ lifecycles: { sandbox } }).success;
    expect([taken({}), taken({ autoResume: true }), taken({ keepMemory: false }), taken({ autoResume: false, keepMemory: false })]).toEqual([true, true, true, true]);
    expect(taken({ autoResume: true, keepMemory: false })).toBe(false);
  });
});

describe('the beat of a host', () => {
  const most = Number.MAX_SAFE_INTEGER;
  const text = (chars: number): string => 'x'.repeat(chars);
  const roomId = `room_${'0'.repeat(20)}`;
  const image = {
    id: `img_${'0'.repeat(20)}`, roomId, incarnation: most, generation: most, templateId: text(64), compatibility: text(64), diskState: text(64), bytes: most, pages: most, sha256: '0'.repeat(64),
  };
  const line = { roomId, incarnation: most, phase: 'starting' as const, sequence: most, reason: text(128), image, guestPrivateBytes: most, vmmOverheadBytes: most };
  const template = { id: text(64), name: text(64), builtAt: '2030-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: most, vcpus: most, diskMiB: most } };
  const beat = {
    bootId: text(64),
    sequence: most,
    description: { url: 'https://host.example:1', storeGroup: text(64), driver: text(64), isolation: 'software' as const, accelerator: text(64), engineBuild: text(64), templates: Array(256).fill(template) },
    capacity: { roomsMax: most, roomsUsed: most, memoryMiBTotal: most, memoryMiBFree: most, diskMiBFree: most },
    incarnations: Array(limits.host.incarnations).fill(line),
    ended: Array(limits.host.ended).fill(line),
  };

  it('fits the size that the control plane takes, however much runs there', () => {
    expect(Heartbeat.safeParse(beat).error?.issues).toBeUndefined();
    expect(Buffer.byteLength(JSON.stringify(beat))).toBeLessThan(limits.host.reportBytes);
  });

  it('is refused beyond that', () => {
    expect(Heartbeat.safeParse({ ...beat, incarnations: [...beat.incarnations, line] }).success).toBe(false);
    expect(Heartbeat.safeParse({ ...beat, incarnations: [{ ...line, reason: text(129) }] }).success).toBe(false);
  });

  it('has an answer that fits too, when all of it shall end', () => {
    const answer: HeartbeatAnswer = { leaseMs: 1, acknowledged: most, end: Array(limits.host.incarnations).fill({ roomId, incarnation: most, reason: text(16) }) };
    expect(Buffer.byteLength(JSON.stringify(answer))).toBeLessThan(limits.host.reportBytes);
  });
});
