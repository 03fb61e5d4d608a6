import { Secret } from '@alcove/base';
import { dekContext, kekContext, purposeKey, roomToken, withRoomKey } from './derivation';

/** Known answers, computed with another implementation of HKDF (Python's hmac): what sleeps was sealed under these. Never change one. */
describe('what is derived from a user key', () => {
  const userKey = new Secret(Buffer.from(Array.from({ length: 32 }, (_, n) => n)));
  const roomId = 'room_00000000000000000001';

  it.each([
    ['image', '748261a72c0614b5984f30ed1969ec2e789d5192836880fef3e7afdb309e5284'],
    ['disk', 'afc9304808220b85c12347eae2b48b3414d42836d76731bc781db270027aafa9'],
    ['env', 'a9adaf76c62f39a5eb138d68e83265f16af1eaf137f8d8f4011cff078a8d2ad5'],
    ['token', '573b8350b636a0dead76fee75512e4912e4a1d068a5efa1db1a1cc170da1c24c'],
  ] as const)("is a room's key for %s", (purpose, hex) => {
    expect(withRoomKey(userKey, roomId, purpose, (key) => key.expose().toString('hex'))).toBe(hex);
  });

  it.each([
    ['surface', '3a306fd8678f46bded8799e3bf9dc62802da525036fa9ff2f6b5d1a3d8f3f5ae'],
    ['traffic', 'c102a119ab24b9a9c235f47b7e6c13695c7da35b966437977565dcd9f9dd3ef9'],
  ] as const)("is a room's token for %s", (purpose, hex) => {
    expect(roomToken(userKey, roomId, purpose)).toBe(hex);
  });

  it.each([
    ['memory.content', 'f4bd138bbcfc00911589602691b3f4449f21d3552f29bab6b2513365b2d9a396'],
    ['memory.vectors', '2c3be6e61417ea3d3d345095b820b60457fc1172c7d75133ed7b243af1b0e4b5'],
    ['memory.blind_index', 'a0a509ba9b98b828ad1ed02c41e8cd4de5bd75b2762d7e32acc9f1e31a69de33'],
    ['export', 'b77137a066657782b55dc645c1bd992b152f4afb465936a658f63f8fb79d9af5'],
  ] as const)("is a user's key for %s", (purpose, hex) => {
    expect(purposeKey(userKey, purpose).expose().toString('hex')).toBe(hex);
  });

  it('is bound to the version of the key, but for the first, which had no number', () => {
    const owner = { tenantId: 't', userId: 'u' };
    expect([kekContext('t', 1), dekContext(owner, 1)]).toEqual([['tenant-key', 't'], ['user-key', 't', 'u']]);
    expect([kekContext('t', 2), dekContext(owner, 3)]).toEqual([['tenant-key', 't', 'version 2'], ['user-key', 't', 'u', 'version 3']]);
  });

  it('is overwritten after it was lent', () => {
    const kept = withRoomKey(userKey, roomId, 'image', (key) => key);
    expect(kept.expose()).toEqual(Buffer.alloc(32));
  });
});
