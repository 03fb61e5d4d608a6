import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits, seededRandom, silentLog } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import { FileJournal, type RoomRecord } from '../../apps/host/src/journal';
import { roomName } from './host-harness';

const folder = mkdtempSync(join(tmpdir(), 'alcove-journal-'));
const file = join(folder, 'journal.ndjson');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(() => rmSync(file, { force: true }));

const random = seededRandom(5);
function record(change: Partial<RoomRecord> = {}): RoomRecord {
  return {
    roomId: roomName(random), incarnation: 1, phase: 'running', sequence: 1, operationId: 'op', templateId: 'tpl', level: 'new', ran: true, generation: 0, reason: '', running: null, sealed: null,
    sealing: null, acknowledged: false, ...change,
  };
}

it('keeps what was written, also without being closed', async () => {
  const journal = await FileJournal.open(folder, silentLog);
  const one = record();
  const two = record();
  await Promise.all([journal.intend(one), journal.note(two), journal.intend({ ...one, phase: 'sealing' })]);
  const again = await FileJournal.open(folder, silentLog);
  expect([...again.records().values()]).toEqual([{ ...one, phase: 'sealing' }, two]);
});

it('shows an intent only when it is written, and a note at once', async () => {
  const journal = await FileJournal.open(folder, silentLog);
  const one = record();
  const writing = journal.intend(one);
  expect(journal.records().has(one.roomId)).toBe(false);
  await writing;
  expect(journal.records().get(one.roomId)).toEqual(one);
  void journal.note({ ...one, phase: 'gone' });
  expect(journal.records().get(one.roomId)?.phase).toBe('gone');
  await journal.close();
});

it('goes on after a torn line, and after garbage', async () => {
  const journal = await FileJournal.open(folder, silentLog);
  const one = record();
  await journal.intend(one);
  await journal.close();
  appendFileSync(file, '12345678 {"roomId":"room_');
  const second = await FileJournal.open(folder, silentLog);
  const two = record();
  await second.intend(two);
  await second.close();
  writeFileSync(file, Buffer.concat([Buffer.from([0, 255, 10, 1, 2, 3, 10]), readFileSync(file)]));
  const third = await FileJournal.open(folder, silentLog);
  expect([...third.records().values()]).toEqual([one, two]);
});

it('stays small however often a room changes', async () => {
  const journal = await FileJournal.open(folder, silentLog);
  const one = record({ reason: 'x'.repeat(8000) });
  for (let batch = 0; batch < 30; batch += 1) await Promise.all(Array.from({ length: 100 }, (_none, i) => journal.note({ ...one, sequence: batch * 100 + i })));
  expect(statSync(file).size).toBeLessThan(limits.hostAgent.journalBytes + (1 << 20));
  expect(journal.records().get(one.roomId)?.sequence).toBe(2999);
  await journal.close();
  expect((await FileJournal.open(folder, silentLog)).records().get(one.roomId)?.sequence).toBe(2999);
});

describe('on a full disk', () => {
  const small = mkdtempSync(join(tmpdir(), 'alcove-small-disk-'));
  let mounted = false;
  beforeAll(() => {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small], { stdio: 'ignore' });
      mounted = true;
    } catch {
      // Not root, or not allowed to: this machine cannot show it.
    }
  });
  afterAll(() => {
    if (mounted) execFileSync('umount', [small]);
    rmSync(small, { recursive: true, force: true });
  });

  it('refuses intents, keeps notes in mind, and writes them when there is room again', async () => {
    if (!mounted) return;
    const journal = await FileJournal.open(small, silentLog);
    const one = record();
    await journal.intend(one);
    writeFileSync(join(small, 'ballast'), Buffer.alloc(60 << 10));
    const large = record({ reason: 'y'.repeat(8000) });
    const refused = await journal.intend(large).catch((error: unknown) => error);
    expect(isProblem(refused, 'host.disk_full')).toBe(true);
    expect(journal.records().has(large.roomId)).toBe(false);
    await journal.note({ ...one, phase: 'gone', reason: 'z'.repeat(8000) });
    expect(journal.records().get(one.roomId)?.phase).toBe('gone');
    rmSync(join(small, 'ballast'));
    const two = record();
    await journal.intend(two);
    await journal.close();
    const again = await FileJournal.open(small, silentLog);
    expect(again.records().get(one.roomId)?.phase).toBe('gone');
    expect(again.records().get(two.roomId)).toEqual(two);
    await again.close();
  });
});
