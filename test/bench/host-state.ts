import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import { HostState } from '@alcove/contracts';
import type { Platform } from './bench.config';

/** What the host agent says of itself, asked as the control plane would. */
export async function hostState(platform: Platform): Promise<HostState> {
  const file = (name: string): Promise<Buffer> => readFile(join(platform.tlsDir, name));
  const [ca, cert, key] = await Promise.all([file('ca.crt'), file('control-plane.crt'), file('control-plane.key')]);
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: platform.hostPort, path: '/state', servername: platform.hostId, ca, cert, key, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      answer.on('end', () => {
        try {
          resolve(HostState.parse(JSON.parse(text)));
        } catch (error) {
          reject(error as Error);
        }
      });
      answer.on('error', reject);
    });
    asked.on('error', reject);
    asked.end();
  });
}
