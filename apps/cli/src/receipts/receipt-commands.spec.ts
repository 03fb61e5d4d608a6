import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ErasureReceipt } from '@alcove/contracts';
import { openReceiptKey, receiptText, signReceipt } from '@alcove/vault';
import { commands, runCommand, type CommandSpec } from '../commands';
import type { Context } from '../context';
import { homePaths } from '../home';
import { ensureReceiptKey } from '../setup/receipt-key';
import { styleFor } from '../terminal';

const receipt: ErasureReceipt = {
  version: 1, kind: 'erasure', id: 'r', subject: { tenantId: '0191f3a0-0000-7000-8000-000000000001', userId: 'ann' }, startedAt: '2030-01-01T00:00:00Z', finishedAt: '2030-01-01T00:00:01Z',
  keys: [], objects: [{ kind: 'disk', id: 'd', bytes: 7, sha256: null }], evidence: [], notCovered: [{ what: 'backups', until: '2030-01-08T00:00:00Z' }, { what: 'logs of others', until: null }],
};

describe('alcove receipt', () => {
  let home: string;
  let file: string;
  let printed: string[];
  let context: Context;
  const receiptCommand = (...args: string[]): Promise<number> => runCommand(commands['receipt'] as CommandSpec, context, args);
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'alcove-receipts-'));
    const paths = homePaths(home);
    await mkdir(join(home, 'keys'));
    printed = [];
    context = { paths, style: styleFor(false), print: (text: string) => printed.push(text) } as unknown as Context;
    expect([await ensureReceiptKey(paths), await ensureReceiptKey(paths)]).toEqual([true, false]);
    expect((await stat(paths.receiptKey)).mode & 0o777).toBe(0o600);
    file = join(home, 'receipt.json');
    await writeFile(file, receiptText(signReceipt(receipt, await openReceiptKey(paths.receiptKey))));
  });
  afterEach(() => rm(home, { recursive: true }));

  it('verifies with the key of the home, and with one that was printed before', async () => {
    expect(await receiptCommand('verify', file)).toBe(0);
    expect(printed.join()).toContain('genuine');
    expect(printed.join()).toContain('logs of others: for as long as others keep it');
    printed.length = 0;
    expect(await receiptCommand('key')).toBe(0);
    const pem = join(home, 'public.pem');
    await writeFile(pem, printed.join(''));
    await rm(context.paths.receiptKey);
    printed.length = 0;
    expect(await receiptCommand('verify', file, '--key', pem, '--json')).toBe(0);
    expect(JSON.parse(printed.join(''))).toEqual({ verdict: 'genuine', receipt });
  });

  it('fails for one that was changed, in words and as JSON', async () => {
    await writeFile(file, (await readFile(file, 'utf8')).replace('"bytes":7', '"bytes":8'));
    expect([await receiptCommand('verify', file), await receiptCommand('verify', file, '--json')]).toEqual([1, 1]);
    expect(printed[0]).toContain('refused');
    expect(JSON.parse(printed[1] ?? '')).toMatchObject({ verdict: 'refused', reason: 'signature' });
  });

  it('says what is wrong with how it was asked', async () => {
    for (const args of [['verify'], ['verify', join(home, 'none')], ['verify', home], ['verify', file, '--key', file], ['burn', file], ['key', file]]) await expect(receiptCommand(...args)).rejects.toMatchObject({ exitCode: 64 });
    await rm(context.paths.receiptKey);
    await expect(receiptCommand('verify', file)).rejects.toMatchObject({ exitCode: 78 });
  });
});
