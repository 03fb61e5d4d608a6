import { open } from 'node:fs/promises';
import { errorCode } from '@alcove/base';
import { openReceiptKey, receiptBytesMax, type ReceiptVerdict, verifyReceiptText } from '@alcove/vault';
import type { Context } from '../context';
import { CliFailure, exitCodes } from '../failure';
import { table } from '../terminal';

/**
 * Checks a receipt without asking anybody: exit code 0 when it is as it was signed, 1 when it is not. `keyFile` is a public key in PEM; without one it is that of this home,
 * which says nothing to whoever does not trust this home. Throws CliFailure (64) when a file cannot be read or the key is none.
 */
export async function verifyReceiptFile(context: Context, file: string, options: { keyFile: string | undefined; json: boolean }): Promise<number> {
  const publicKeyPem = options.keyFile === undefined ? await ownPublicKey(context) : (await readBounded(options.keyFile, 16 << 10)).toString('utf8');
  const found = verdictOf(await readBounded(file, receiptBytesMax), publicKeyPem);
  context.print(options.json ? JSON.stringify(found, null, 2) : describe(context, found));
  return found.verdict === 'genuine' ? exitCodes.ok : exitCodes.failed;
}

/** Prints the public key that this home's receipts are verified with. */
export async function showReceiptKey(context: Context, json: boolean): Promise<number> {
  const { keyId, publicKeyPem } = await ownKey(context);
  context.print(json ? JSON.stringify({ keyId, publicKeyPem }, null, 2) : publicKeyPem);
  return exitCodes.ok;
}

function verdictOf(bytes: Buffer, publicKeyPem: string): ReceiptVerdict {
  try {
    return verifyReceiptText(bytes, publicKeyPem);
  } catch (cause) {
    throw new CliFailure(cause instanceof TypeError ? cause.message : String(cause), { mend: 'give an Ed25519 public key in PEM: ./alcove receipt key prints that of the platform', exitCode: exitCodes.usage, cause });
  }
}

function describe({ style }: Context, found: ReceiptVerdict): string {
  if (found.verdict === 'refused') return `✗ refused: ${found.detail}`;
  const { subject, keys, objects, evidence, notCovered, startedAt, finishedAt } = found.receipt;
  const bytes = objects.reduce((sum, one) => sum + one.bytes, 0);
  const lines = [
    '✓ genuine',
    '',
    table(
      [
        ['tenant', subject.tenantId], ['user', subject.userId], ['from', startedAt], ['to', finishedAt], ['keys destroyed', String(keys.length)], ['objects unreadable', `${objects.length}, ${bytes} bytes`],
        ['tried to be read', evidence.length === 0 ? 'nothing: there was nothing to try' : evidence.map((one) => `${one.kind} ${one.id}: ${one.code}`).join(', ')],
      ],
      style,
    ),
  ];
  if (notCovered.length > 0) lines.push('', 'Not covered:', ...notCovered.map(({ what, until }) => `  ${what}: ${until === null ? 'for as long as others keep it' : `until ${until}`}`));
  return lines.join('\n');
}

async function ownPublicKey(context: Context): Promise<string> {
  return (await ownKey(context)).publicKeyPem;
}

async function ownKey({ paths }: Context): ReturnType<typeof openReceiptKey> {
  return openReceiptKey(paths.receiptKey).catch((cause: unknown) => {
    throw new CliFailure(`the key of receipts, ${paths.receiptKey}, cannot be used`, { mend: './alcove setup makes it; or give a public key: --key PEM', exitCode: exitCodes.configuration, cause });
  });
}

async function readBounded(path: string, maxBytes: number): Promise<Buffer> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw new CliFailure(`${path} cannot be read (${errorCode(error) ?? 'unknown'})`, { exitCode: exitCodes.usage, cause: error });
  });
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw new CliFailure(`${path} has more than ${maxBytes} bytes`, { exitCode: exitCodes.usage });
    return await file.readFile();
  } catch (error) {
    if (error instanceof CliFailure) throw error;
    throw new CliFailure(`${path} cannot be read (${errorCode(error) ?? 'unknown'})`, { exitCode: exitCodes.usage, cause: error });
  } finally {
    await file.close();
  }
}
