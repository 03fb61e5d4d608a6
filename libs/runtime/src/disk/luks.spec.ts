import { createDecipheriv, pbkdf2Sync, randomBytes } from 'node:crypto';
import { antiForensicMerge, antiForensicSplit, luksHeaderBytes, luksKeyMaterialOffset, makeLuksHeader, sectorBytes } from './luks';

describe('LUKS headers', () => {
  it('splits a key so that it merges again, and never the same way', () => {
    const key = randomBytes(64);
    const split = antiForensicSplit(key);
    expect(split).toHaveLength(64 * 4000);
    expect(antiForensicMerge(split)).toEqual(key);
    expect(antiForensicSplit(key)).not.toEqual(split);
  });

  it('needs every stripe', () => {
    const key = randomBytes(64);
    const split = antiForensicSplit(key);
    split[1234] = (split[1234] ?? 0) ^ 1;
    expect(antiForensicMerge(split)).not.toEqual(key);
  });

  it('opens with its passphrase: slot key, merged master key, digest', async () => {
    const passphrase = Buffer.from('correct horse battery staple');
    const { head, keyMaterial } = await makeLuksHeader(passphrase);
    expect(openSlot(head, keyMaterial, passphrase)).toBe(true);
    expect(openSlot(head, keyMaterial, Buffer.from('another'))).toBe(false);
  });

  it('has its fields where the specification has them', async () => {
    const { head, keyMaterial } = await makeLuksHeader(Buffer.from('x'));
    expect(head.subarray(0, 8).toString('hex')).toBe('4c554b53babe0001');
    expect(head.toString('latin1', 8, 11)).toBe('aes');
    expect(head.toString('latin1', 40, 51)).toBe('xts-plain64');
    expect(head.readUInt32BE(104) * sectorBytes).toBe(luksHeaderBytes);
    expect(head.readUInt32BE(208 + 40) * sectorBytes).toBe(luksKeyMaterialOffset);
    expect(head.readUInt32BE(208)).toBe(0x00ac71f3);
    for (let slot = 1; slot < 8; slot++) expect(head.readUInt32BE(208 + slot * 48)).toBe(0x0000dead);
    expect(keyMaterial).toHaveLength(256_000);
  });
});

/** What a reader of LUKS1 does, written from the specification a second time. */
function openSlot(head: Buffer, keyMaterial: Buffer, passphrase: Buffer): boolean {
  const slotKey = pbkdf2Sync(passphrase, head.subarray(208 + 8, 208 + 40), head.readUInt32BE(208 + 4), 64, 'sha256');
  const split: Buffer[] = [];
  for (let sector = 0; sector < keyMaterial.length / 512; sector++) {
    const tweak = Buffer.alloc(16);
    tweak.writeUInt32LE(sector);
    split.push(createDecipheriv('aes-256-xts', slotKey, tweak).update(keyMaterial.subarray(sector * 512, sector * 512 + 512)));
  }
  const masterKey = antiForensicMerge(Buffer.concat(split));
  const digest = pbkdf2Sync(masterKey, head.subarray(132, 164), head.readUInt32BE(164), 20, 'sha256');
  return digest.equals(head.subarray(112, 132));
}
