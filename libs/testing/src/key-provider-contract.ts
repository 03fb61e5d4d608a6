import { randomBytes } from 'node:crypto';
import { Secret } from '@alcove/base';
import { isProblem } from '@alcove/contracts';
import { keyUnavailableReason, wrapVersion, type KeyProvider, type KeyProviderKind } from '@alcove/vault';

/** A provider with a key of its own that nothing else uses, and what its administrator can do. */
export interface KeyProviderBench {
  provider: KeyProvider;
  /** Another key of the same provider. */
  another: KeyProvider;
  /** Gives the key a newer version; the provider as it is then. */
  rotate(): Promise<KeyProvider>;
  /** Makes all but the newest version useless; the provider as it is then. */
  shutOld(): Promise<KeyProvider>;
  /** Takes away the right to use the key. The provider as it is then; a provider that is opened anew may already be refused. */
  revoke(): Promise<KeyProvider>;
  /** Asks a provider of that kind that is not there. */
  askNobody(): Promise<unknown>;
  close(): Promise<void>;
}

const context = ['tenant-key', '0191f3a0-0000-7000-8000-000000000001'];

function newKey(): Secret<Buffer> {
  return new Secret(randomBytes(32));
}

/** What a promise is rejected with: `corrupt`, `unreachable`, `denied`; otherwise the error itself, or that it was kept. */
async function refusal(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'kept',
    (error: unknown) => (isProblem(error, 'vault.corrupt') ? 'corrupt' : (keyUnavailableReason(error) ?? error)),
  );
}

/** The one suite that every KeyProvider passes. `thorough`: flips each byte of a wrap; otherwise every seventh (a provider that counts requests). */
export function describeKeyProvider(kind: KeyProviderKind, open: () => Promise<KeyProviderBench>, { thorough = true } = {}): void {
  describe(`KeyProvider (${kind})`, () => {
    let bench: KeyProviderBench;
    let provider: KeyProvider;
    beforeEach(async () => {
      bench = await open();
      provider = bench.provider;
    });
    afterEach(() => bench.close());

    it('says what it is, and nothing secret', async () => {
      const described = await provider.describe();
      expect(described).toEqual({ kind, keyId: provider.keyId, keyVersion: expect.stringMatching(/^[\x21-\x7e]{1,128}$/) });
      expect(provider.kind).toBe(kind);
      expect([provider.opens(provider.keyId), provider.opens(bench.another.keyId)]).toEqual([true, false]);
      expect((await bench.another.describe()).keyId).not.toBe(provider.keyId);
    });

    it('unwraps what it wrapped, to the bit, and never wraps the same way twice', async () => {
      const key = newKey();
      const wrapped = await provider.wrap(key, context);
      expect((await provider.unwrap(wrapped, context)).expose()).toEqual(key.expose());
      expect(await provider.wrap(key, context)).not.toEqual(wrapped);
      expect(wrapped.includes(key.expose()) || wrapped.includes(key.expose().toString('base64'))).toBe(false);
      expect(wrapVersion(wrapped)).toEqual({ kind, keyVersion: (await provider.describe()).keyVersion });
    });

    it('takes contexts of any text, up to its bound', async () => {
      const key = newKey();
      for (const parts of [['a'], ['', ''], ['"],["', '\\', 'ünï😀', '\n'], Array.from({ length: 16 }, () => 'x'.repeat(48))]) {
        expect((await provider.unwrap(await provider.wrap(key, parts), parts)).expose()).toEqual(key.expose());
      }
      for (const parts of [[], Array.from({ length: 17 }, () => 'x'), ['x'.repeat(769)], ['\ud800']]) await expect(provider.wrap(key, parts)).rejects.toThrow('a context');
      await expect(provider.wrap(new Secret(Buffer.alloc(31)), context)).rejects.toThrow('32 bytes');
    });

    it('refuses another context, also when it wraps again', async () => {
      const wrapped = await provider.wrap(newKey(), ['ab', 'c']);
      for (const wrong of [['a', 'bc'], ['ab', 'c', ''], ['ab'], ['c', 'ab'], ['ab', 'C'], ['ab","c']]) {
        expect(await refusal(provider.unwrap(wrapped, wrong))).toBe('corrupt');
        expect(await refusal(provider.rewrap(wrapped, wrong))).toBe('corrupt');
      }
    });

    it('refuses what another key wrapped', async () => {
      const wrapped = await bench.another.wrap(newKey(), context);
      expect(['corrupt', 'denied']).toContain(await refusal(provider.unwrap(wrapped, context)));
      expect(['corrupt', 'denied']).toContain(await refusal(provider.rewrap(wrapped, context)));
    });

    it('refuses what is damaged, cut short, lengthened, empty or of another kind', async () => {
      const wrapped = await provider.wrap(newKey(), context);
      for (let at = 0; at < wrapped.length; at += thorough ? 1 : 7) {
        const bad = Buffer.from(wrapped);
        bad[at] = (bad[at] ?? 0) ^ (1 << (at & 7));
        // What names the version may name one that is not there: `denied`.
        expect(['corrupt', 'denied']).toContain(await refusal(provider.unwrap(bad, context)));
      }
      const others = [Buffer.alloc(0), Buffer.from('AV'), wrapped.subarray(0, 40), wrapped.subarray(0, -1), Buffer.concat([wrapped, Buffer.alloc(1)]), Buffer.alloc(9000, 0x41), randomBytes(200)];
      for (const bad of others) expect(await refusal(provider.unwrap(bad, context))).toBe('corrupt');
    });

    it('wraps again under the newest version, keeps the key, and the old version can be shut', async () => {
      const key = newKey();
      const old = await provider.wrap(key, context);
      const before = (await provider.describe()).keyVersion;
      const rotated = await bench.rotate();
      const after = (await rotated.describe()).keyVersion;
      expect(after).not.toBe(before);
      expect(rotated.opens(provider.keyId)).toBe(true);
      expect((await rotated.unwrap(old, context)).expose()).toEqual(key.expose());
      const fresh = await rotated.rewrap(old, context);
      expect([wrapVersion(old)?.keyVersion, wrapVersion(fresh)?.keyVersion]).toEqual([before, after]);
      expect((await rotated.unwrap(fresh, context)).expose()).toEqual(key.expose());
      expect(await refusal(rotated.unwrap(fresh, [...context, 'x']))).toBe('corrupt');
      const shut = await bench.shutOld();
      expect(await refusal(shut.unwrap(old, context))).toBe('denied');
      expect(await refusal(shut.rewrap(old, context))).toBe('denied');
      expect((await shut.unwrap(fresh, context)).expose()).toEqual(key.expose());
      expect((await shut.unwrap(await shut.wrap(key, context), context)).expose()).toEqual(key.expose());
    });

    it('says denied when its right was taken away', async () => {
      const wrapped = await provider.wrap(newKey(), context);
      const use = async (work: (one: KeyProvider) => Promise<unknown>): Promise<unknown> => refusal(bench.revoke().then(work));
      expect(await use((one) => one.unwrap(wrapped, context))).toBe('denied');
      expect(await use((one) => one.wrap(newKey(), context))).toBe('denied');
      expect(await use((one) => one.rewrap(wrapped, context))).toBe('denied');
      expect(await use((one) => one.describe())).toBe('denied');
    });

    it('says unreachable when nobody is there', async () => {
      expect(await refusal(bench.askNobody())).toBe('unreachable');
    });
  });
}
