import { Secret } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import fc from 'fast-check';
import { StreamOpener, streamPreambleBytes, StreamSealer } from './stream';

const key = new Secret(Buffer.alloc(32, 7));
const header = Buffer.from('header');

interface Sealed {
  preamble: Buffer;
  chunks: Buffer[];
}

function seal(plain: readonly Buffer[], about = header, salt?: Buffer): Sealed {
  const sealer = new StreamSealer(key, about, salt);
  return { preamble: sealer.preamble, chunks: plain.map((chunk, i) => sealer.seal(chunk, i === plain.length - 1)) };
}

/** Opens as a reader of a file would: the last chunk that is there is taken for the final one. */
function openAll({ preamble, chunks }: Sealed, about = header, with_ = key): Buffer[] {
  const opener = new StreamOpener(with_, about, preamble);
  const plain = chunks.map((chunk, i) => opener.open(chunk, i === chunks.length - 1));
  opener.finish();
  return plain;
}

const corrupt = (work: () => unknown): boolean => {
  try {
    work();
  } catch (error) {
    return isProblem(error, 'vault.corrupt');
  }
  return false;
};

describe('sealed streams', () => {
  const plain = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')];

  it('keep their layout: a golden of version 1', () => {
    const sealed = seal(plain, header, Buffer.alloc(32, 3));
    expect(sealed.preamble.toString('hex')).toBe(golden.preamble);
    expect(sealed.chunks.map((c) => c.toString('hex'))).toEqual(golden.chunks);
  });

  it('open to what was sealed', () => {
    const chunk = fc.uint8Array({ maxLength: 100 }).map((b) => Buffer.from(b));
    fc.assert(
      fc.property(fc.array(chunk, { minLength: 1, maxLength: 8 }), chunk, (chunks, about) => {
        expect(openAll(seal(chunks, about), about)).toEqual(chunks);
      }),
      { seed: 20250201, numRuns: 150 },
    );
  });

  it('refuse truncation, extension, exchange, repetition and splicing', () => {
    const a = seal(plain);
    const b = seal(plain);
    const [a0, a1, a2] = a.chunks as [Buffer, Buffer, Buffer];
    const [, b1] = b.chunks as [Buffer, Buffer, Buffer];
    const bad: Buffer[][] = [[], [a0], [a0, a1], [a1, a2], [a0, a2], [a1, a0, a2], [a0, a0, a1, a2], [a0, a1, a2, a2], [a0, a1, a1, a2], [a0, b1, a2], [a0, a1, a2, Buffer.alloc(16)], [a0, a1, a2, Buffer.alloc(0)]];
    for (const chunks of bad) expect(corrupt(() => openAll({ preamble: a.preamble, chunks }))).toBe(true);
    expect(corrupt(() => openAll({ preamble: b.preamble, chunks: a.chunks }))).toBe(true);
  });

  it('refuse another header and another key', () => {
    const sealed = seal(plain);
    expect(corrupt(() => openAll(sealed, Buffer.from('Header')))).toBe(true);
    expect(corrupt(() => openAll(sealed, header, new Secret(Buffer.alloc(32, 8))))).toBe(true);
  });

  it('refuse every single flipped bit', () => {
    const sealed = seal([Buffer.from('ab'), Buffer.from('c')]);
    const whole = [sealed.preamble, ...sealed.chunks];
    const bits = whole.reduce((n, part) => n + part.length * 8, 0);
    for (let bit = 0; bit < bits; bit++) {
      const copy = whole.map((part) => Buffer.from(part));
      let at = bit >> 3;
      const part = copy.find((p) => at < p.length || ((at -= p.length), false)) as Buffer;
      part[at] = (part[at] ?? 0) ^ (1 << (bit & 7));
      expect(corrupt(() => openAll({ preamble: copy[0] as Buffer, chunks: copy.slice(1) }))).toBe(true);
    }
  });

  it('are not to be opened any further after the first failure', () => {
    const sealed = seal(plain);
    const opener = new StreamOpener(key, header, sealed.preamble);
    expect(corrupt(() => opener.open(sealed.chunks[1] as Buffer, false))).toBe(true);
    expect(corrupt(() => opener.open(sealed.chunks[0] as Buffer, false))).toBe(true);
    expect(opener.finished).toBe(false);
    expect(corrupt(() => opener.finish())).toBe(true);
  });

  it('tell a wrong key from damage', () => {
    const sealed = seal(plain);
    expect(StreamOpener.fits(key, sealed.preamble)).toBe(true);
    expect(StreamOpener.fits(new Secret(Buffer.alloc(32, 8)), sealed.preamble)).toBe(false);
    expect(StreamOpener.fits(key, sealed.preamble.subarray(1))).toBe(false);
    expect(sealed.preamble.length).toBe(streamPreambleBytes);
  });

  it('take nothing after the final chunk', () => {
    const sealer = new StreamSealer(key, header);
    sealer.seal(Buffer.alloc(0), true);
    expect(() => sealer.seal(Buffer.alloc(1), true)).toThrow('ended');
  });
});

const golden = {
  preamble: '415301010303030303030303030303030303030303030303030303030303030303030303d68fb5092193b1d3d9688d3ac7e0de658570a7652c2f875fbe79de45c290c24a',
  chunks: ['2bf51ea07f63221c37ca121721d46d0e10b29e', '1812f2356178bd14cdb4e30ca2abe13d43d18a', '7446b983a8234176aeea53c9b33ccb9818169132aa'],
};
