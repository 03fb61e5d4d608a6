/** What little of DER (ITU-T X.690) a CMS message needs to be written; reading is left to node-forge. */
export const derTags = { integer: 0x02, octetString: 0x04, oid: 0x06, sequence: 0x30, set: 0x31, context0: 0x80, constructed0: 0xa0, constructed1: 0xa1 } as const;

/** One value: tag, length, content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const bytes = content.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.from([tag]), lengthOf(bytes), ...content]);
}

export function derSequence(...content: readonly Uint8Array[]): Buffer {
  return der(derTags.sequence, ...content);
}

/** An INTEGER of 0 to 127. */
export function derSmallInteger(value: number): Buffer {
  return der(derTags.integer, Buffer.from([value]));
}

export function derOid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  return der(derTags.oid, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const digits = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) digits.unshift((rest & 0x7f) | 0x80);
  return digits;
}

function lengthOf(bytes: number): Buffer {
  if (bytes < 0x80) return Buffer.from([bytes]);
  const big = Buffer.alloc(4);
  big.writeUInt32BE(bytes);
  const digits = big.subarray(big.findIndex((byte) => byte !== 0));
  return Buffer.concat([Buffer.from([0x80 | digits.length]), digits]);
}
