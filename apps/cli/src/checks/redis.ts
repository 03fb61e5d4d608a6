import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { systemClock } from '@alcove/base';
import { freePort } from '../embedded-postgres';
import { CliFailure } from '../failure';
import { plainEnvironment } from '../cli.config';

const startTimeoutMs = 10_000;

/** Starts Debian's Redis on a free port of 127.0.0.1, in memory only. It dies with this process. Throws CliFailure when it does not answer. */
export async function startRedis(): Promise<{ port: number; stop(): Promise<void> }> {
  const port = await freePort();
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'redis-server', ...settings], { stdio: 'ignore', cwd: '/', env: plainEnvironment() });
  const ended = once(child, 'exit').catch(() => undefined);
  const deadline = systemClock.monotonic() + startTimeoutMs;
  while (!(await answers(port))) {
    if (systemClock.monotonic() > deadline || child.exitCode !== null) throw new CliFailure('redis-server does not answer', { mend: 'apt-get install redis-server' });
    await systemClock.sleep(25);
  }
  return {
    port,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('data', (data) => {
      resolve(data.toString().startsWith('+PONG'));
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
}
