import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Handle, PKCS11 } from 'pkcs11js';
import type * as Pkcs11Js from 'pkcs11js';
import type { Clock } from '@alcove/base';
import { KeyUnavailable } from './key-provider';
import { readSecretFile } from './key-ring';
import { wipe } from './keys';

/** Where a token is; the settings of the provider. */
export interface TokenSettings {
  addon: string;
  library: string;
  token: string;
  pinFile: string;
}

export interface OpenSession {
  readonly module: PKCS11;
  readonly constants: typeof Pkcs11Js;
  readonly handle: Handle;
}

/** CKR_ values of PKCS#11 2.40 that say: this user, or this key, may not. */
const deniedCodes = new Set([0x63, 0x68, 0xa0, 0xa1, 0xa3, 0xa4, 0x102, 0x103]);
/** Those that say: the session or the token is gone; another session may do. */
const lostCodes = new Set([0x30, 0x31, 0x32, 0xb0, 0xb3, 0xe0, 0x101]);
/** How long one call into the token may take, milliseconds. Only its wait ends then: a library cannot be interrupted. */
const callMs = 5_000;
const maxPinBytes = 256;

/** The code of an error of the library; undefined for any other error. */
export function pkcs11Code(error: unknown): number | undefined {
  const code = error instanceof Error && /Pkcs11/.test(error.name) ? (error as Error & { code?: unknown }).code : undefined;
  return typeof code === 'number' && code !== 0 ? code : undefined;
}

/**
 * One session with a PKCS#11 token, opened when it is needed, used by one call at a time, and opened anew once when the token says that it is lost. Looking for objects and
 * logging in block this process for as long as the library takes; encryption and decryption do not.
 */
export class Pkcs11Token {
  readonly #settings: TokenSettings;
  readonly #clock: Clock;
  #session: OpenSession | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #refused: KeyUnavailable | undefined;
  #closed = false;

  constructor(settings: TokenSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  /**
   * Runs a call that may be repeated. A KeyUnavailable: `denied` for a wrong or locked PIN (the PIN is not tried again: tokens lock after some tries) and what may not be done
   * with the key; `unreachable` for a library, token or session that is not there, and when it takes longer than five seconds. Other errors of the library pass.
   */
  async use<T>(work: (session: OpenSession) => Promise<T>): Promise<T> {
    const before = this.#last;
    const turn = (async () => {
      await before.catch(() => undefined);
      return this.#attempt(work);
    })();
    this.#last = turn;
    return this.#inTime(turn);
  }

  async close(): Promise<void> {
    await this.#last.catch(() => undefined);
    this.#closed = true;
    this.#drop();
  }

  async #attempt<T>(work: (session: OpenSession) => Promise<T>): Promise<T> {
    for (let again = false; ; again = true) {
      try {
        return await work((this.#session ??= await this.#open()));
      } catch (error) {
        const code = pkcs11Code(error);
        if (code !== undefined && deniedCodes.has(code)) throw new KeyUnavailable('denied', `the token ${this.#settings.token} refuses (${messageOf(error)})`, error);
        if (code === undefined || !lostCodes.has(code)) throw error;
        this.#drop();
        if (again) throw new KeyUnavailable('unreachable', `the token ${this.#settings.token} is lost (${messageOf(error)})`, error);
      }
    }
  }

  async #inTime<T>(turn: Promise<T>): Promise<T> {
    const done = new AbortController();
    const late = this.#clock.sleep(callMs, done.signal).then(
      () => {
        throw new KeyUnavailable('unreachable', `the token ${this.#settings.token} does not answer`);
      },
      () => new Promise<never>(() => undefined),
    );
    return Promise.race([turn, late]).finally(() => done.abort());
  }

  async #open(): Promise<OpenSession> {
    if (this.#closed) throw new KeyUnavailable('unreachable', 'the provider is closed');
    if (this.#refused) throw this.#refused;
    const { addon, library, token, pinFile } = this.#settings;
    const pin = await readSecretFile(pinFile, maxPinBytes);
    try {
      const { module, constants } = loadLibrary(addon, library);
      const slot = module.C_GetSlotList(true).find((one) => module.C_GetTokenInfo(one).label.trim() === token);
      if (!slot) throw new KeyUnavailable('unreachable', `${library} has no token called ${token}`);
      const handle = module.C_OpenSession(slot, constants.CKF_SERIAL_SESSION);
      this.#logIn({ module, constants, handle }, pin.toString('utf8').replace(/\r?\n$/, ''));
      return { module, constants, handle };
    } finally {
      wipe(pin);
    }
  }

  #logIn({ module, constants, handle }: OpenSession, pin: string): void {
    try {
      module.C_Login(handle, constants.CKU_USER, pin);
    } catch (error) {
      // A login is of the whole process; another provider may have made it.
      if (pkcs11Code(error) === constants.CKR_USER_ALREADY_LOGGED_IN) return;
      module.C_CloseSession(handle);
      const code = pkcs11Code(error);
      if (code === undefined || !deniedCodes.has(code)) throw error;
      this.#refused = new KeyUnavailable('denied', `the token ${this.#settings.token} refuses the PIN (${messageOf(error)}); open the provider again once the PIN is right`, error);
      throw this.#refused;
    }
  }

  #drop(): void {
    const session = this.#session;
    this.#session = undefined;
    try {
      session?.module.C_CloseSession(session.handle);
    } catch {
      // It was lost already.
    }
  }
}

/** Libraries of this process: one may be initialized only once. They stay loaded, because others may have sessions with them. */
const loaded = new Map<string, { module: PKCS11; constants: typeof Pkcs11Js }>();

function loadLibrary(addon: string, library: string): { module: PKCS11; constants: typeof Pkcs11Js } {
  const known = loaded.get(library);
  if (known) return known;
  try {
    const constants = createRequire(join(addon, 'index.js'))(join(addon, 'index.js')) as typeof Pkcs11Js;
    const module = new constants.PKCS11();
    module.load(library);
    try {
      module.C_Initialize({ flags: constants.CKF_OS_LOCKING_OK });
    } catch (error) {
      if (pkcs11Code(error) !== constants.CKR_CRYPTOKI_ALREADY_INITIALIZED) throw error;
    }
    loaded.set(library, { module, constants });
    return { module, constants };
  } catch (error) {
    throw new KeyUnavailable('unreachable', `${library} cannot be used (${messageOf(error)}); ./alcove setup with ALCOVE_PKCS11=1 builds what is needed for it`, error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}
