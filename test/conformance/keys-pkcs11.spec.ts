import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Handle, PKCS11 } from 'pkcs11js';
import type * as Pkcs11Js from 'pkcs11js';
import { Secret, systemClock } from '@alcove/base';
import { KeyProviderSettings, keyUnavailableReason, openProvider, type KeyProvider } from '@alcove/vault';
import { describeKeyProvider, type KeyProviderBench } from '../../libs/testing/src/key-provider-contract';
import { environment } from '../test.config';

const where = environment.pkcs11 ?? { addon: '/', library: '/', token: '', pinFile: '/' };
const open = (keyLabel: string, changed: Partial<typeof where> = {}): Promise<KeyProvider> =>
  openProvider(KeyProviderSettings.parse({ kind: 'pkcs11', ...where, ...changed, keyLabel }), { clock: systemClock });

/** What the token's owner does, with a session of their own. */
class Owner {
  readonly #c = require(where.addon) as typeof Pkcs11Js;
  readonly #module: PKCS11 = new this.#c.PKCS11();
  readonly #session: Handle;

  constructor() {
    this.#module.load(where.library);
    try {
      this.#module.C_Initialize({ flags: this.#c.CKF_OS_LOCKING_OK });
    } catch (error) {
      expect((error as { code?: number }).code).toBe(this.#c.CKR_CRYPTOKI_ALREADY_INITIALIZED);
    }
    const slot = this.#module.C_GetSlotList(true).find((one) => this.#module.C_GetTokenInfo(one).label.trim() === where.token);
    this.#session = this.#module.C_OpenSession(slot as Handle, this.#c.CKF_SERIAL_SESSION | this.#c.CKF_RW_SESSION);
    this.#logIn();
  }

  #logIn(): void {
    try {
      this.#module.C_Login(this.#session, this.#c.CKU_USER, '8675309');
    } catch (error) {
      expect((error as { code?: number }).code).toBe(this.#c.CKR_USER_ALREADY_LOGGED_IN);
    }
  }

  /** A login is of the whole process. */
  async loggedOut(work: () => Promise<void>): Promise<void> {
    this.#module.C_Logout(this.#session);
    await work().finally(() => this.#logIn());
  }

  makeKey(label: string, id: number[], { extractable = false, bytes = 32 } = {}): void {
    const c = this.#c;
    this.#module.C_GenerateKey(this.#session, { mechanism: c.CKM_AES_KEY_GEN, parameter: null as unknown as Buffer }, [
      { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }, { type: c.CKA_LABEL, value: label }, { type: c.CKA_ID, value: Buffer.from(id) }, { type: c.CKA_VALUE_LEN, value: bytes },
      { type: c.CKA_TOKEN, value: true }, { type: c.CKA_PRIVATE, value: true }, { type: c.CKA_SENSITIVE, value: true }, { type: c.CKA_EXTRACTABLE, value: extractable },
      { type: c.CKA_ENCRYPT, value: true }, { type: c.CKA_DECRYPT, value: true },
    ]);
  }

  destroyKeys(label: string, id?: number[]): void {
    const c = this.#c;
    this.#module.C_FindObjectsInit(this.#session, [{ type: c.CKA_LABEL, value: label }, ...(id ? [{ type: c.CKA_ID, value: Buffer.from(id) }] : [])]);
    const found = this.#module.C_FindObjects(this.#session, 64);
    this.#module.C_FindObjectsFinal(this.#session);
    for (const key of found) this.#module.C_DestroyObject(this.#session, key);
  }
}

/** Without a token (jest by hand) these are skipped; `./alcove test` makes one. */
const onToken = environment.pkcs11 ? describe : describe.skip;
onToken('a token of PKCS#11', () => {
  let owner: Owner;
  beforeAll(() => {
    owner = new Owner();
  });

  const bench = async (): Promise<KeyProviderBench> => {
    const label = `alcove-${randomBytes(6).toString('hex')}`;
    owner.makeKey(label, [1]);
    owner.makeKey(`${label}-b`, [1]);
    const [provider, another] = [await open(label), await open(`${label}-b`)];
    return {
      provider,
      another,
      rotate: async () => {
        owner.makeKey(label, [1, 0]);
        return provider;
      },
      shutOld: async () => {
        owner.destroyKeys(label, [1]);
        return provider;
      },
      revoke: async () => {
        owner.destroyKeys(label);
        return provider;
      },
      askNobody: async () => (await open(label, { token: 'another' })).describe(),
      close: async () => {
        await provider.close();
        await another.close();
        for (const one of [label, `${label}-b`]) owner.destroyKeys(one);
      },
    };
  };
  describeKeyProvider('pkcs11', bench);

  it('takes no key that could be read out of it, and none of another size', async () => {
    for (const what of [{ extractable: true }, { bytes: 16 }]) {
      const label = `alcove-${randomBytes(6).toString('hex')}`;
      owner.makeKey(label, [1], what);
      await expect((await open(label)).wrap(new Secret(Buffer.alloc(32, 1)), ['x'])).rejects.toMatchObject({ reason: 'denied' });
      owner.destroyKeys(label);
    }
  });

  it('serves many at once, one after the other', async () => {
    const made = await bench();
    const keys = Array.from({ length: 50 }, () => new Secret(randomBytes(32)));
    const wrapped = await Promise.all(keys.map((key, i) => made.provider.wrap(key, [String(i)])));
    const plain = await Promise.all(wrapped.map((one, i) => made.provider.unwrap(one, [String(i)])));
    expect(plain.map((one) => one.expose())).toEqual(keys.map((one) => one.expose()));
    await made.close();
  });

  it('is denied by a wrong PIN, and does not try it again', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'alcove-pin-'));
    const pinFile = join(folder, 'pin');
    await writeFile(pinFile, '0000', { mode: 0o600 });
    const provider = await open('x', { pinFile });
    await owner.loggedOut(async () => {
      await expect(provider.describe()).rejects.toMatchObject({ reason: 'denied' });
      await writeFile(pinFile, '8675309', { mode: 0o600 });
      await expect(provider.describe()).rejects.toMatchObject({ reason: 'denied', detail: expect.stringContaining('PIN') });
    });
    await rm(folder, { recursive: true });
  });

  it('is unreachable without its library, its binding, its PIN file', async () => {
    for (const changed of [{ library: '/nonexistent.so' }, { library: '/etc/hostname' }, { pinFile: '/nonexistent' }]) {
      const error = await (await open('x', changed)).describe().catch((e: unknown) => e);
      expect(keyUnavailableReason(error)).toBe('unreachable');
    }
  });
});
