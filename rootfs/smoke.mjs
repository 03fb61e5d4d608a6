#!/usr/bin/env node
// Boots a built template in QEMU, uses everything that a room needs of it, and says how long each step took:
//
//   node rootfs/smoke.mjs [TEMPLATE]      a folder as build-rootfs.sh makes it; default: the default template, built into the cache
//
// Exit 0 when all is well. Needs no part of the platform; the tests of the real driver are test/e2e.
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tryContents } from './smoke/contents.mjs';
import { tryDoors } from './smoke/doors.mjs';
import { tryEntries, tryWatches } from './smoke/files.mjs';
import { boot } from './smoke/machine.mjs';
import { tryKept, tryListeners, trySleep, tryTerminals } from './smoke/processes.mjs';
import { expect, refusal, restart, step } from './smoke/report.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const cache = process.env.ALCOVE_CACHE ?? '/var/cache/alcove';

function buildDefault() {
  const out = join(cache, 'smoke-template');
  const args = ['--template', join(here, 'templates/default'), '--out', out, '--cache', join(cache, 'build')];
  const { status } = spawnSync(join(here, 'build-rootfs.sh'), args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) process.exit(1);
  step('built');
  return out;
}

async function tryFiles(channel) {
  const bytes = randomBytes(1_000_000);
  const sent = channel.open('fileWrite', [
    ['path', 'a/b/c'],
    ['makeParents', 1],
  ]);
  await sent.write(bytes).end().done;
  const read = await channel.call('fileRead', [['path', '/home/user/a/b/c']]);
  const same = createHash('sha256').update(Buffer.concat(read.chunks)).digest('hex') === createHash('sha256').update(bytes).digest('hex');
  expect(same, 'a file of 1 MB goes in and comes out');
  const refused = await refusal(channel.open('fileWrite', [['path', '/etc/passwd']]).end().done);
  expect(refused === 'denied', 'a file of root is not for the user to write');
}

async function tryCommands(channel) {
  const ran = await channel.shell('id -un; echo oops >&2; exit 3');
  expect(ran.exit === '3' && ran.out === 'user\n' && ran.err === 'oops\n', 'a command runs as the user');
  const late = await channel.shell('sleep 60', [['timeoutMs', 200]]);
  expect(late.timedOut === '1', 'a command ends at its timeout');
}

async function tryAgent(channel) {
  const { nonce } = await channel.invoke('nonce');
  expect(/^[0-9a-f]{32}$/.test(nonce), 'the agent has drawn a nonce');
  expect((await channel.invoke('nonce')).nonce === nonce, 'and keeps it');
  expect((await channel.invoke('count')).counter === 1 && (await channel.invoke('count')).counter === 2, 'the agent counts');
  const events = await channel.http('POST', '/invocations', '{"prompt":"run: echo one; echo two"}', { accept: 'text/event-stream' });
  expect(events.body.includes('one') && events.body.includes('"type":"answer"'), 'the agent streams a command');
  await channel.invoke('remember the door is blue');
  expect((await channel.invoke('recall door')).notes.length === 1, 'the agent remembers');
}

async function main() {
  const template = process.argv[2] ?? buildDefault();
  const started = restart();
  const { machine, attempt } = await boot(template);
  try {
    const { channel } = machine;
    step(`the guest agent answers (attempt ${attempt})`);
    expect((await refusal(channel.shell('true'))) === 'denied', 'nothing is served before the claim');
    await channel.claim('fresh', 1, [['env', 'GREETING=hello']]);
    step('claimed');
    await channel.invoke('hello');
    step(`the agent answers: ${Math.round(performance.now() - started)} ms after the start of a cold boot`);
    await tryCommands(channel);
    await tryFiles(channel);
    await tryContents(channel);
    await tryKept(channel);
    await tryListeners(channel);
    await tryTerminals(channel);
    await tryEntries(channel);
    await tryWatches(channel);
    await tryAgent(channel);
    expect((await channel.shell('echo $GREETING')).out === 'hello\n', "the room's environment is there");
    await channel.call('quiesce');
    await channel.sync();
    await channel.claim('resumed', 2);
    expect((await channel.invoke('count')).counter === 3, 'quiesced, synchronised and claimed again; the agent counts on');
    const stats = (await channel.call('stats')).messages[0];
    const figures = ['memTotal', 'memCached', 'diskFree', 'cpuBusyMs', 'cpuTotalMs'].map((name) => Number(stats[name]));
    expect(figures.every((figure) => figure > 0) && figures[3] <= figures[4], 'it tells what it uses', stats);
    const sleep = async (...claim) => {
      await channel.call('quiesce');
      await channel.sync();
      await channel.claim(...claim);
    };
    await trySleep(channel, sleep);
    await tryDoors(channel, sleep);
    expect((await channel.invoke('count')).counter > 0, 'and the agent answers there');
    channel.shell('pkill -9 -P 1 -x guest-agent', [['user', 'root']]).catch(() => {});
    await machine.ended();
    step('the machine ends with its guest agent');
  } catch (error) {
    process.stderr.write(`${error.stack}\n--- console\n${machine.console}\n`);
    process.exitCode = 1;
  } finally {
    await machine.stop();
  }
}

await main();
