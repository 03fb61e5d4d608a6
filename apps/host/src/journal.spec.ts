import fc from 'fast-check';
import { encode, livePhases, replay, type RoomRecord } from './journal';

const roomIds = ['room_00000000000000000001', 'room_00000000000000000002', 'room_00000000000000000003'];
const anyRecord = fc.record<RoomRecord>({
  roomId: fc.constantFrom(...roomIds),
  incarnation: fc.integer({ min: 1, max: 9 }),
  phase: fc.constantFrom('starting', 'running', 'sealing', 'sealed', 'ending', 'gone'),
  sequence: fc.integer({ min: 1, max: 1000 }),
  operationId: fc.string(),
  templateId: fc.string(),
  level: fc.constantFrom('new', 'memory', 'disk', 'checkpoint'),
  ran: fc.boolean(),
  generation: fc.nat(9),
  // Whatever a problem's detail holds, line feeds included.
  reason: fc.string({ unit: 'binary' }),
  running: fc.constant(null),
  sealed: fc.constant(null),
  sealing: fc.option(fc.nat(9)),
  acknowledged: fc.boolean(),
});
const anyRecords = fc.array(anyRecord, { maxLength: 12 });
const seeded = { seed: 20_261_120, numRuns: 300 };

/** What a reader must find after these lines. */
function lastOf(records: readonly RoomRecord[]): Map<string, RoomRecord> {
  return new Map(records.map((record) => [record.roomId, record]));
}

it('reads back what was written, the last line of a room winning', () => {
  fc.assert(
    fc.property(anyRecords, (records) => {
      expect(replay(Buffer.concat(records.map(encode)))).toEqual({ records: lastOf(records), skipped: 0 });
    }),
    seeded,
  );
});

it('reads a journal that was cut anywhere as the lines before the cut', () => {
  fc.assert(
    fc.property(anyRecords, fc.double({ min: 0, max: 1, noNaN: true }), (records, where) => {
      const lines = records.map(encode);
      const bytes = Buffer.concat(lines);
      const cut = Math.floor(where * bytes.length);
      let whole = 0;
      // A line is whole without its line feed.
      for (let end = 0; whole < lines.length; whole += 1) {
        end += lines[whole]?.length ?? 0;
        if (end - 1 > cut) break;
      }
      const { records: read, skipped } = replay(bytes.subarray(0, cut));
      expect(read).toEqual(lastOf(records.slice(0, whole)));
      expect(skipped).toBeLessThanOrEqual(1);
    }),
    seeded,
  );
});

it('leaves out a damaged line and keeps the others', () => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 8 }), fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (records, line, at, flip) => {
      const lines = records.map(encode);
      const victim = lines[line % lines.length] ?? Buffer.alloc(0);
      const position = at % (victim.length - 1);
      victim.writeUInt8(victim.readUInt8(position) ^ flip, position);
      const others = records.filter((_record, i) => i !== line % lines.length);
      const { records: read, skipped } = replay(Buffer.concat(lines));
      expect(read).toEqual(lastOf(others));
      expect(skipped).toBeGreaterThan(0);
    }),
    seeded,
  );
});

it('takes garbage for no record at all', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      expect(replay(Buffer.from(bytes)).records.size).toBe(0);
    }),
    seeded,
  );
});

it('counts the phases in which a VM may exist as living', () => {
  expect([...livePhases].sort()).toEqual(['ending', 'running', 'sealing', 'starting']);
});
