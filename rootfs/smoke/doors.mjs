// Doors: programs of the room reach the host by a name, and a server of the room may have port 80 all the same.
import { expect, refusal } from './report.mjs';

const NAME = 'memory.alcove.internal';
const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello';

/** Answers the next connection to the doors; what was asked there. */
async function answerOne(channel, names = [NAME]) {
  const stream = channel.open('door', names.map((name) => ['name', name]));
  await stream.until(() => stream.messages.length === 1 && Buffer.concat(stream.chunks).includes('\r\n\r\n'));
  const asked = Buffer.concat(stream.chunks).toString('latin1');
  stream.write(ANSWER).end();
  await stream.done;
  return asked;
}

export async function tryDoors(channel, sleep) {
  const curl = (name = NAME) => channel.shell(`curl -sS --max-time 20 http://${name}/v1/memory`);
  expect((await channel.shell('curl -sS --max-time 5 http://127.0.0.80/')).exit !== '0', 'nothing is at the doors before the host asks for them');
  expect((await refusal(channel.call('door', [['name', 'a b']]))) === 'invalid', 'what is no name does not get into /etc/hosts');
  const [asked, heard] = await Promise.all([answerOne(channel), channel.shell(`until getent hosts ${NAME} >/dev/null; do sleep 0.05; done`).then(() => curl())]);
  expect(heard.out === 'hello' && asked.startsWith('GET /v1/memory HTTP/1.1\r\nHost: memory.alcove.internal\r\n'), 'a program reaches the host by the name of a door', [asked, heard]);
  const server = channel.keep('cd /tmp && exec python3 -m http.server 80 --bind 0.0.0.0', [['tag', 'eighty']]);
  await channel.shell('until curl -sS --max-time 2 -o /dev/null http://127.0.0.1:80/; do sleep 0.1; done');
  const [, beside] = await Promise.all([answerOne(channel), curl()]);
  expect(beside.out === 'hello', 'also while a server of the room has port 80 of every address', beside);
  expect((await channel.shell('curl -sS -o /dev/null -w "%{http_code}" http://127.0.0.1/')).out === '200', 'and that server is reached at every other one');
  await channel.call('signal', [['tag', 'eighty'], ['signal', 9]]);
  await server.done;
  // One that has connected while nobody waits is served once somebody does; so is one that connects after a sleep.
  const waiting = channel.shell(`curl -sS --max-time 60 http://other.alcove.internal/ --resolve other.alcove.internal:80:127.0.0.80`);
  await channel.shell('until grep -q 50 /proc/net/tcp; do sleep 0.05; done');
  const [late] = await Promise.all([waiting, answerOne(channel, [NAME, 'other.alcove.internal'])]);
  expect(late.out === 'hello', 'who comes while nobody waits is served later');
  const cut = channel.open('door', [['name', NAME]]);
  channel.keep(`sleep 0.2; curl -sS http://${NAME}/ > /tmp/cut 2>&1; echo $? > /tmp/ended`);
  await cut.until(() => cut.messages.length === 1);
  await sleep('resumed', 5);
  await channel.shell('until test -s /tmp/ended; do sleep 0.05; done');
  expect((await channel.shell('cat /tmp/ended')).out !== '0\n', 'a request that was under way at a sleep ends with it');
  const [, after] = await Promise.all([answerOne(channel), curl()]);
  expect(after.out === 'hello', 'and the doors are there again after it');
  await sleep('fresh', 1, [], 'again');
  expect((await channel.shell(`getent hosts other.alcove.internal`)).out.startsWith('127.0.0.80'), 'a copy of the room knows the names');
}
