// Kept processes and terminals: what outlives its stream, who hears what, what ends it.
import { randomBytes } from 'node:crypto';
import { expect, refusal } from './report.mjs';

const last = (stream) => stream.messages.at(-1);
const pidOf = async (stream) => (await stream.until(() => stream.messages.length > 0)).messages[0].pid;
const list = async (channel) => (await channel.call('processes')).messages;

/** Ends a kept process and waits until its end is told. */
async function end(channel, pid, number = 9) {
  const heard = channel.open('attach', [['pid', pid]]);
  await pidOf(heard);
  await channel.call('signal', [['pid', pid], ['signal', number]]);
  return last(await heard.done);
}

export async function tryKept(channel) {
  const quick = await channel.keep('echo out; echo err >&2; exit 7').done;
  expect(last(quick).exit === '7' && quick.text === 'out\n' && quick.errorText === 'err\n', 'a kept command tells its output and its end', quick.messages);

  const cat = channel.keep('echo ready; exec cat', [['stdin', 1], ['tag', 'cat'], ['env', 'A=b c'], ['cwd', '/tmp']]);
  const pid = await pidOf(cat);
  await cat.until(() => cat.text.includes('ready'));
  const [told] = await list(channel);
  expect(told.pid === pid && told.tag === 'cat' && told.user === 'user' && told.cwd === '/tmp' && told.env === 'A=b c' && told.arg[0] === 'bash', 'it is listed', told);
  cat.cancel();
  const again = channel.open('attach', [['tag', 'cat']]);
  await pidOf(again);
  await channel.input(['pid', pid], 'hello\n');
  await again.until(() => again.text === 'hello\n');
  expect(true, 'it outlives its stream, takes input and is heard by who comes later');
  await channel.input(['tag', 'cat'], 'bye\n', [['close', 1]]);
  await again.done;
  expect(again.text === 'hello\nbye\n' && last(again).exit === '0', 'the end of its input ends it', again.messages);
  const late = await channel.call('attach', [['pid', pid]]);
  expect(late.messages.length === 2 && late.messages[0].pid === pid && last(late).exit === '0' && late.text === '', 'its end is told to who comes late', late.messages);
  const codes = [];
  for (const [service, fields] of [['signal', [['signal', 9]]], ['input', []], ['resize', [['pty', '1x1']]]]) codes.push(await refusal(channel.call(service, [['pid', pid], ...fields])));
  codes.push(await refusal(channel.call('attach', [['tag', 'nobody']])), await refusal(channel.call('attach', [])), await refusal(channel.call('exec', [['arg', 'true'], ['tag', 'x']])));
  expect(codes.join() === 'not_found,not_found,not_found,not_found,invalid,invalid', 'what is not there is refused', codes);
  await tryEnds(channel);
}

async function tryEnds(channel) {
  const late = await channel.keep('trap "" TERM; echo on; while :; do sleep 0.1; done', [['timeoutMs', 300]]).done;
  expect(last(late).timedOut === '1' && last(late).signal === '9', 'a timeout ends it, also when it does not want to', last(late));
  const sleeper = channel.keep('sleep 600');
  expect((await end(channel, await pidOf(sleeper), 15)).signal === '15' && last(await sleeper.done).signal === '15', 'so does a signal, and every listener hears of it');
  const parent = await channel.keep('sleep 600 & echo left').done;
  expect(parent.text === 'left\n' && last(parent).exit === '0', 'a child that keeps the pipe open does not hold the end back', parent.messages);
  const muted = channel.keep('for i in $(seq 60); do head -c 65536 /dev/zero; done; echo done > /tmp/muted');
  await pidOf(muted);
  muted.cancel();
  expect((await channel.shell('until [ -e /tmp/muted ]; do sleep 0.05; done; echo seen')).out === 'seen\n', 'without a listener its output is thrown away, and it goes on');
  const input = channel.keep('sleep 600', [['stdin', 1]]);
  const pid = await pidOf(input);
  const pending = channel.input(['pid', pid], randomBytes(200_000));
  await end(channel, pid);
  expect((await refusal(pending)) === 'not_found', 'input that nobody took is refused at its end');
  expect((await refusal(channel.input(['pid', await pidOf(channel.keep('sleep 1'))], 'x'))) === 'invalid', 'one without input takes none');
  await channel.shell('pkill sleep');
}

/** What a kept process makes of a sleep and of becoming another room. `wake` puts it to sleep and claims it anew. */
export async function trySleep(channel, wake) {
  const kept = channel.keep('while read line; do echo "$line $GREETING"; done', [['stdin', 1], ['tag', 'sleeper'], ['env', 'GREETING=hello']]);
  const pid = await pidOf(kept);
  const hears = async (line) => {
    const heard = channel.open('attach', [['pid', pid]]);
    await pidOf(heard);
    await channel.input(['tag', 'sleeper'], `${line}\n`);
    await heard.until(() => heard.text === `${line} hello\n`);
    heard.cancel();
  };
  await wake('resumed', 3);
  await hears('one');
  expect((await list(channel)).some((one) => one.pid === pid), 'a kept process sleeps and wakes with its room');
  const identity = async () => (await channel.shell('cat /etc/machine-id /proc/sys/kernel/random/boot_id; hostname; grep -v mode /run/alcove/claim; echo $GREETING')).out.trim().split('\n');
  const before = await identity();
  await wake('fresh', 1, [['env', 'GREETING=other']], 'copy');
  const after = await identity();
  const same = before.filter((line) => after.includes(line));
  expect(after.includes('copy') && after.includes('other') && same.join() === 'room=smoke', 'a room that becomes another one has nothing of its identity left', [before, after]);
  await hears('two');
  expect(true, 'and the kept process goes on, with the environment that it was given');
  await end(channel, pid);
}

export async function tryListeners(channel) {
  const size = 3_000_000;
  const starter = channel.keep(`read go; head -c ${size} /dev/urandom | tee >(sha256sum > /tmp/sum); sleep 0.3`, [['stdin', 1]]);
  const pid = await pidOf(starter);
  const others = [channel.open('attach', [['pid', pid]]), channel.open('attach', [['pid', pid]])];
  await Promise.all(others.map(pidOf));
  // One that takes nothing stops everybody once its window is full, and nobody once it is gone.
  const deaf = channel.open('attach', [['pid', pid]]);
  deaf.deaf = true;
  await pidOf(deaf);
  await channel.input(['pid', pid], 'go\n');
  await deaf.until(() => Buffer.concat(deaf.chunks).length > 200_000);
  await channel.shell('sleep 0.2');
  const before = Buffer.concat(starter.chunks).length;
  expect(before <= 262_144, 'the slowest listener sets the pace', before);
  deaf.cancel();
  await Promise.all([starter, ...others].map((stream) => stream.done));
  const { createHash } = await import('node:crypto');
  const sums = [starter, ...others].map((stream) => createHash('sha256').update(Buffer.concat(stream.chunks)).digest('hex'));
  const wanted = (await channel.shell('cat /tmp/sum')).out.split(' ')[0];
  expect(sums.every((sum) => sum === wanted), 'three listeners get every byte', [sums, wanted]);
  const many = await Promise.all(Array.from({ length: 100 }, () => channel.keep('true').done));
  expect(many.every((stream) => last(stream).exit === '0'), '100 commands at a time');
}

export async function tryTerminals(channel) {
  const TERM = ['env', 'TERM=xterm-256color'];
  const open = () => channel.open('exec', [['arg', 'bash'], ['arg', '-i'], ['arg', '-l'], ['keep', 1], ['pty', '80x24'], TERM]);
  const shell = open();
  const pid = await pidOf(shell);
  const type = (text) => channel.input(['pid', pid], text);
  const says = async (text, command, wanted) => {
    const from = shell.text.length;
    await type(command);
    await shell.until(() => wanted.test(shell.text.slice(from)));
    expect(true, text);
  };
  await says('a terminal has its size', 'echo "[$(tty) $(stty size) $(tput cols)]"\n', /\[\/dev\/pts\/\d+ 24 80 80\]/);
  await channel.call('resize', [['pid', pid], ['pty', '100x30']]);
  await says('and another one when it is told', 'echo "[$(stty size) $(tput cols)]"\n', /\[30 100 100\]/);
  // What is typed is echoed: only what comes out is in one piece.
  await says('a command runs in it', "echo in''side; sleep 600; echo not''reached\n", /inside/);
  // Until it has the terminal, ^C is the shell's.
  const foreground = (program) => channel.shell(`until ps -o stat=,args= -C ${program} | grep -q "^[^ ]*+"; do sleep 0.05; done`);
  await foreground('sleep');
  await type('\x03');
  await says('^C ends it, and the shell goes on', 'echo "after:"$?\n', /after:130/);
  expect(!shell.text.includes('notreached'), 'with the next line');
  await says('another one runs', "echo wait''ing; cat; echo cat''end\n", /waiting/);
  await foreground('cat');
  await type('\x04');
  await shell.until(() => shell.text.includes('catend'));
  expect(true, '^D ends its input');
  await says('it has jobs', "jobs; sleep 600 &\n", /\[1\] \d+/);
  await says('the terminal is its user\'s', 'stat -c "<%U %G %a>" $(tty)\n', /<user tty 6[02]0>/);
  expect((await refusal(channel.input(['pid', pid], '', [['close', 1]]))) === 'invalid', 'its input is not closed');
  expect((await list(channel)).find((one) => one.pid === pid).pty === '1', 'it is listed as a terminal');
  await type('exit 5\n');
  await shell.done;
  expect(last(shell).exit === '5' && shell.errorText === '', 'its end is told', last(shell));
  const other = open();
  expect((await end(channel, await pidOf(other))).signal === '9', 'a terminal is ended by a signal');
  let whole = 0;
  for (let turn = 0; turn < 30; turn += 1) {
    const said = await channel.open('exec', [['arg', 'sh'], ['arg', '-c'], ['arg', 'echo all of it'], ['keep', 1], ['pty', '80x24']]).done;
    if (said.text === 'all of it\r\n') whole += 1;
  }
  expect(whole === 30, 'what a short command says in a terminal is never lost', whole);
}
