import { TemplateManifest, TemplateRecipe } from './template';

const recipe = { name: 'mine', start: ['node', 'main.js'] };

it('keeps a manifest without onFork as it was: its id hangs on it', () => {
  const manifest = {
    version: 1, id: `tpl_${'0'.repeat(20)}`, name: 'mine', builtAt: '2026-01-01T00:00:00.000Z', cloneSafe: true, size: { memoryMiB: 512, vcpus: 1, diskMiB: 4096 },
    engine: { driver: 'qemu', build: 'b', accelerator: 'tcg', cpuModel: 'max', protocol: 1 }, files: {}, port: 8080,
  };
  expect(Object.keys(TemplateManifest.parse(manifest))).toEqual(Object.keys(manifest));
  const onFork = { command: ['./renew', 'all'], user: 'user', cwd: '/home/user' };
  expect(TemplateManifest.parse({ ...manifest, onFork })).toEqual({ ...manifest, onFork });
});

it('takes a command for copies as it takes the start command', () => {
  expect(TemplateRecipe.parse(recipe)).not.toHaveProperty('onFork');
  expect(TemplateRecipe.parse({ ...recipe, onFork: ['./renew', 'all'] }).onFork).toEqual(['./renew', 'all']);
  for (const onFork of [[], [''], './renew', null, Array.from({ length: 65 }, () => 'x')]) expect(TemplateRecipe.safeParse({ ...recipe, onFork }).success).toBe(false);
});
