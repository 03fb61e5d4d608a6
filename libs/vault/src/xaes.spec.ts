import { createHash } from 'node:crypto';
import { XaesKey, xaesOpen as open, xaesSeal as seal } from './xaes';

const xaesSeal = (key: Buffer, nonce: Buffer, plaintext: Buffer, aad: Buffer): Buffer => Buffer.concat(Object.values(seal(new XaesKey(key), nonce, plaintext, aad)));
const xaesOpen = (key: Buffer, nonce: Buffer, sealed: Buffer, aad: Buffer): Buffer | undefined => open(new XaesKey(key), nonce, sealed, aad);
const text = (s: string) => Buffer.from(s, 'latin1');

describe('XAES-256-GCM against the vectors of https://c2sp.org/XAES-256-GCM', () => {
  const nonce = text('ABCDEFGHIJKLMNOPQRSTUVWX');
  it.each([
    { key: 0x01, aad: '', sealed: 'ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271' },
    { key: 0x03, aad: 'c2sp.org/XAES-256-GCM', sealed: '986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d' },
  ])('key of bytes $key', ({ key, aad, sealed }) => {
    const bytes = Buffer.alloc(32, key);
    expect(xaesSeal(bytes, nonce, text('XAES-256-GCM'), text(aad)).toString('hex')).toBe(sealed);
    expect(xaesOpen(bytes, nonce, Buffer.from(sealed, 'hex'), text(aad))?.toString()).toBe('XAES-256-GCM');
  });

  it('the accumulated vector of 10,000 iterations', () => {
    // SHAKE-128 gives key, nonce, a length and a plaintext, a length and associated data, over and over; another SHAKE-128 takes all ciphertexts.
    const stream = createHash('shake128', { outputLength: 10_000 * (32 + 24 + 1 + 255 + 1 + 255) }).digest();
    let at = 0;
    const take = (n: number) => stream.subarray(at, (at += n));
    const all = createHash('shake128', { outputLength: 32 });
    for (let i = 0; i < 10_000; i++) {
      const key = take(32);
      const nonce24 = take(24);
      const plaintext = take(take(1)[0] ?? 0);
      const aad = take(take(1)[0] ?? 0);
      const sealed = xaesSeal(key, nonce24, plaintext, aad);
      all.update(sealed);
      if (i % 100 === 0) expect(xaesOpen(key, nonce24, sealed, aad)).toEqual(plaintext);
    }
    expect(all.digest('hex')).toBe('e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939');
  });

  it('opens nothing that is shorter than a tag', () => {
    expect(xaesOpen(Buffer.alloc(32), nonce, Buffer.alloc(15), text(''))).toBeUndefined();
  });
});
