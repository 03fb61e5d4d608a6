import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

it('the door refuses another processor before it does anything', () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-door-'));
  try {
    writeFileSync(join(folder, 'uname'), '#!/bin/sh\necho aarch64\n', { mode: 0o755 });
    const door = join(__dirname, '../../../../alcove');
    const { status, stdout, stderr } = spawnSync(door, ['up'], { env: { PATH: `${folder}:/usr/bin:/bin` }, encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({ status: 69, stdout: '', stderr: expect.stringMatching(/^alcove: this processor \(aarch64\) is not supported: .*x86_64.*\n$/) });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
