import { chmod, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TemplateManifest } from '@alcove/contracts';
import { contentHash } from './content-hash';
import { canonicalJson, templateIdOf } from './manifest';
import { TemplateStore } from './template-store';

let storeDir: string;
beforeEach(async () => {
  storeDir = await mkdtemp(join(tmpdir(), 'alcove-templates-'));
});
afterEach(() => rm(storeDir, { recursive: true, force: true }));

async function put(name: string, builtAt: string): Promise<{ manifest: TemplateManifest; folder: string }> {
  const scratch = join(storeDir, 'scratch');
  await writeFile(scratch, `memory of ${name} ${builtAt}`);
  const content: Omit<TemplateManifest, 'id'> = {
    version: 1, name, builtAt, cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 }, port: 8080,
    engine: { driver: 'qemu', build: 'b', accelerator: 'tcg', cpuModel: 'max', protocol: 1 }, files: { mem: await contentHash(scratch) },
  };
  const manifest = { ...content, id: templateIdOf(content) };
  const folder = join(storeDir, 'templates', manifest.id);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'mem'), await readFile(scratch));
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  return { manifest, folder };
}

describe('the templates of a store', () => {
  it('are found by id and by name, the newest first', async () => {
    const old = await put('default', '2026-01-01T00:00:00.000Z');
    const young = await put('default', '2026-02-01T00:00:00.000Z');
    const other = await put('other', '2026-03-01T00:00:00.000Z');
    const store = new TemplateStore(storeDir);
    expect((await store.list()).map(({ manifest }) => manifest.id)).toEqual([other.manifest.id, young.manifest.id, old.manifest.id]);
    expect((await store.newest('default'))?.manifest).toEqual(young.manifest);
    expect(await store.newest('none')).toBeUndefined();
    expect(await store.get(old.manifest.id)).toEqual(old);
  });

  it('are none where there is no folder', async () => {
    expect(await new TemplateStore(join(storeDir, 'nowhere')).list()).toEqual([]);
  });

  it.each([
    ['a file that was changed', (folder: string) => writeFile(join(folder, 'mem'), 'another memory of default'), 'image.corrupt'],
    ['a file that is gone', (folder: string) => rm(join(folder, 'mem')), 'image.corrupt'],
    ['a manifest that was changed', async (folder: string) => writeFile(join(folder, 'manifest.json'), (await readFile(join(folder, 'manifest.json'), 'utf8')).replace('"tcg"', '"kvm"')), 'image.corrupt'],
    ['no manifest', (folder: string) => rm(join(folder, 'manifest.json')), 'template.not_found'],
  ])('are refused with %s, also when they were whole before', async (_, damage, code) => {
    const { manifest, folder } = await put('default', '2026-01-01T00:00:00.000Z');
    await new TemplateStore(storeDir).get(manifest.id);
    await damage(folder);
    const store = new TemplateStore(storeDir);
    await expect(store.get(manifest.id)).rejects.toMatchObject({ code });
    expect(await store.list()).toEqual([]);
  });

  it('are hashed again only when they were touched', async () => {
    const { manifest, folder } = await put('default', '2026-01-01T00:00:00.000Z');
    await new TemplateStore(storeDir).get(manifest.id);
    const remembered = await readFile(join(storeDir, 'templates', 'verified.json'), 'utf8');
    await new TemplateStore(storeDir).get(manifest.id);
    expect(await readFile(join(storeDir, 'templates', 'verified.json'), 'utf8')).toBe(remembered);
    await chmod(join(folder, 'mem'), 0o444);
    await new TemplateStore(storeDir).get(manifest.id);
    expect(await readFile(join(storeDir, 'templates', 'verified.json'), 'utf8')).not.toBe(remembered);
  });

  it('refuse what is not an id', async () => {
    await expect(new TemplateStore(storeDir).get('../../etc')).rejects.toMatchObject({ code: 'template.not_found' });
  });
});

describe('the hash of a content', () => {
  it('does not depend on holes, and does on everything else', async () => {
    const path = join(storeDir, 'file');
    await writeFile(path, Buffer.alloc(5 << 20));
    const zeros = await contentHash(path);
    await writeFile(path, '');
    await truncate(path, 5 << 20);
    expect(await contentHash(path)).toEqual(zeros);
    await truncate(path, (5 << 20) + 1);
    expect((await contentHash(path)).sha256).not.toBe(zeros.sha256);
    const early = Buffer.alloc(5 << 20);
    early[10] = 1;
    await writeFile(path, early);
    const first = await contentHash(path);
    early[10] = 0;
    early[(3 << 20) + 10] = 1;
    await writeFile(path, early);
    const second = await contentHash(path);
    expect(new Set([zeros.sha256, first.sha256, second.sha256]).size).toBe(3);
  });
});

it('canonical JSON has one text for equal values', () => {
  expect(canonicalJson({ b: [1, { d: null, c: 'x' }], a: undefined })).toBe('{"b":[1,{"c":"x","d":null}]}');
});

it('names a template by its content, and one without a command for copies as before there were any', () => {
  const content: Omit<TemplateManifest, 'id'> = {
    version: 1, name: 'default', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 }, port: 8080,
    engine: { driver: 'qemu', build: 'b', accelerator: 'tcg', cpuModel: 'max', protocol: 1 }, files: {},
  };
  expect(templateIdOf(content)).toBe('tpl_82a6e3be81cbe93f9b94');
  expect(templateIdOf({ ...content, onFork: { command: ['./renew'], user: 'user', cwd: '/home/user' } })).not.toBe(templateIdOf(content));
});
