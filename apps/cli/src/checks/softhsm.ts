import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inheritedEnvironment } from '../cli.config';
import type { Context } from '../context';
import { runProgram } from '../run-program';
import type { Need } from '../setup/machine-packages';
import { ensurePkcs11, pkcs11Needs } from '../setup/pkcs11';

const library = '/usr/lib/softhsm/libsofthsm2.so';

/** What tests of PKCS#11 need of the machine. */
export const softhsmNeeds: Need[] = [{ file: library, debianPackage: 'softhsm2' }, ...pkcs11Needs];

/** Makes a token of Debian's SoftHSM2 with a PIN, in a folder of its own. `environment`: what the suites need to find it (test/test.config.ts). */
export async function makeToken(context: Context): Promise<{ environment: Record<string, string>; remove(): Promise<void> }> {
  const addon = await ensurePkcs11(context);
  const folder = await mkdtemp(join(tmpdir(), 'alcove-token-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const tokens = join(folder, 'tokens');
    const configuration = join(folder, 'softhsm2.conf');
    const pinFile = join(folder, 'pin');
    await mkdir(tokens);
    await writeFile(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
    await writeFile(pinFile, '8675309\n', { mode: 0o600 });
    await chmod(pinFile, 0o600);
    const env = inheritedEnvironment({ SOFTHSM2_CONF: configuration });
    await runProgram('softhsm2-util', ['--init-token', '--free', '--label', 'alcove-test', '--so-pin', '5772156', '--pin', '8675309'], { env });
    return { environment: { SOFTHSM2_CONF: configuration, TEST_PKCS11: JSON.stringify({ addon, library, token: 'alcove-test', pinFile }) }, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}
