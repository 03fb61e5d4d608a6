/** With --all: the newest SDK that the registry has, and E2B's command line. Both come from the registry, so they need it. */
import { join } from 'node:path';
import { Sandbox } from 'e2b';
import { run } from '../../e2e/platform';
import { testConfig } from '../../e2e/e2e.config';
import { environmentOf, installed, runApp } from './clients';
import { Tenancy } from './sdk';

jest.setTimeout(600_000);
const withAll = testConfig().all ? describe : describe.skip;

withAll('what the registry has', () => {
  let mine: Tenancy;
  beforeAll(async () => {
    mine = await Tenancy.open('qemu');
  });
  afterAll(() => mine?.close());

  it('an application runs with the newest SDK', async () => {
    const sdk = await installed('e2b@latest');
    expect(await runApp(mine, sdk.folder)).toMatchObject({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) as string, said: 'hello from Linux\n', note: 'a note', listed: true, killed: true, running: false });
    await sdk.remove();
  });

  it('the command line creates, lists, shows, runs in, pauses, resumes and kills sandboxes', async () => {
    const cli = await installed('@e2b/cli@2.19');
    const e2b = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await run(process.execPath, [join(cli.folder, 'node_modules/@e2b/cli/dist/index.js'), ...args], { ...environmentOf(mine), HOME: cli.folder });
      if (code !== 0) throw new Error(`e2b ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`);
      return stdout;
    };
    const made = await e2b('sandbox', 'create', '--detach', '--timeout', '600', 'base');
    const id = /\bi[0-9a-f]{20}\b/.exec(made)?.[0] ?? '';
    mine.keep({ sandboxId: id });
    expect(JSON.parse(await e2b('sandbox', 'list', '--format', 'json'))).toEqual([expect.objectContaining({ sandboxId: id })]);
    expect(await e2b('sandbox', 'info', id)).toContain(id);
    expect(await e2b('sandbox', 'exec', id, 'echo said by $((40 + 2))')).toContain('said by 42');
    expect(await e2b('sandbox', 'logs', id)).toContain(id);
    expect(await e2b('sandbox', 'metrics', id)).toMatch(/CPU/i);
    await e2b('sandbox', 'pause', id);
    expect((await Sandbox.getInfo(id, mine.at)).state).toBe('paused');
    await e2b('sandbox', 'resume', id);
    expect((await Sandbox.getInfo(id, mine.at)).state).toBe('running');
    await e2b('sandbox', 'kill', id);
    expect(await Sandbox.list(mine.at).nextItems()).toEqual([]);
    expect(await e2b('template', 'list')).toContain('default');
    await cli.remove();
  });
});
