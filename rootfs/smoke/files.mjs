// What is told about files, whose they become, and what is told as it happens.
import { expect, refusal } from './report.mjs';

const ROOT = [['user', 'root'], ['owner', 'user']];
const write = (channel, path, text, fields = []) => channel.open('fileWrite', [['path', path], ...fields]).write(text).end().done;
const stat = async (channel, path, fields = []) => (await channel.call('fileStat', [['path', path], ...fields])).messages[0];
const list = async (channel, path, fields = []) => (await channel.call('fileList', [['path', path], ...fields])).messages;

export async function tryEntries(channel) {
  await write(channel, 'e/f/g.txt', 'one', [...ROOT, ['makeParents', 1], ['meta', 'author=mish'], ['meta', 'purpose=up=load']]);
  const told = await stat(channel, 'e/f/g.txt');
  expect(told.owner === 'user' && told.group === 'user' && told.uid === '1000' && told.mode === '644', 'what root writes for the user is the user\'s', told);
  expect(told.meta?.join() === 'author=mish,purpose=up=load', 'a file keeps what is noted about it', told);
  const folders = [await stat(channel, 'e'), await stat(channel, '/home/user/e/f')];
  expect(folders.every(({ owner, kind }) => owner === 'user' && kind === 'directory'), 'so are the folders that were made for it', folders);
  const outside = await refusal(write(channel, '/root/x', '', [['owner', 'root']]));
  expect(outside === 'denied', 'an owner gives no rights', outside);
  await channel.call('fileMove', [['from', 'e/f/g.txt'], ['to', 'e/h/i/j.txt'], ['makeParents', 1], ...ROOT]);
  expect((await stat(channel, 'e/h/i/j.txt')).meta?.length === 2 && (await stat(channel, 'e/h/i')).owner === 'user', 'they stay when it moves');
  expect((await refusal(channel.call('fileMove', [['from', 'none'], ['to', 'n/o/n/e'], ['makeParents', 1]]))) === 'not_found' && (await refusal(stat(channel, 'n'))) === 'not_found', 'nothing is made for what is not there');
  await channel.shell('setfattr -n user.e2b.seen -v yes e/h/i/j.txt && setfattr -n user.other -v no e/h/i/j.txt');
  expect((await stat(channel, 'e/h/i/j.txt')).meta.includes('seen=yes') && (await stat(channel, 'e/h/i/j.txt')).meta.length === 3, 'attributes set in the room are told');
  await write(channel, 'e/h/i/j.txt', 'more', [['append', 1], ['meta', 'only=this']]);
  expect((await stat(channel, 'e/h/i/j.txt')).meta === 'only=this' && (await stat(channel, 'e/h/i/j.txt')).size === '7', 'and replaced');
  await write(channel, 'e/h/i/j.txt', 'two');
  expect((await stat(channel, 'e/h/i/j.txt')).meta === undefined, 'a new file has none');
  const bad = [await refusal(write(channel, 'x', '', [['meta', `a=${'x'.repeat(4096)}`]])), await refusal(write(channel, '/dev/shm/x', '', [['meta', 'a=b']])), await refusal(write(channel, 'x', '', [['owner', 'who']]))];
  expect(bad.join() === 'invalid,unsupported,invalid', 'what cannot be kept is refused', bad);
  await write(channel, 'big', '', [['meta', `a=${'x'.repeat(3000)}`]]);
  expect((await stat(channel, 'big')).meta.length === 3002, '3 KB of notes fit');
  await tryLists(channel);
}

async function tryLists(channel) {
  await channel.shell('mkdir -p w/a/b/c w/d && touch w/a/1 w/a/b/2 w/a/b/c/3 w/e && ln -s /home/user/w/a w/link && ln -s nowhere w/lost && ln -s e w/near');
  const names = async (fields) => (await list(channel, 'w', fields)).map(({ name }) => name).join(' ');
  expect((await names([])) === 'a d e link lost near', 'a folder is listed', await names([]));
  expect((await names([['depth', 3]])) === 'a a/1 a/b a/b/2 a/b/c d e link lost near', 'and what is below it, down to a depth', await names([['depth', 3]]));
  expect((await names([['depth', 64], ['limit', 5]])) === 'a a/1 a/b a/b/2 a/b/c', 'and up to a limit');
  const plain = Object.fromEntries((await list(channel, 'w')).map((entry) => [entry.name, entry]));
  expect(plain.link.kind === 'symlink' && plain.link.target === '/home/user/w/a' && plain.near.target === 'e', 'links are links');
  const followed = Object.fromEntries((await list(channel, 'w', [['follow', 1]])).map((entry) => [entry.name, entry]));
  const { link, near, lost } = followed;
  expect(link.kind === 'directory' && near.kind === 'file' && near.target === '/home/user/w/e' && lost.kind === 'symlink' && lost.target === 'nowhere', 'or what they lead to', followed);
  expect((await stat(channel, 'w/near', [['follow', 1]])).kind === 'file' && (await stat(channel, 'w/near')).kind === 'symlink', 'one by one, too');
  await channel.shell('d=deep; for i in $(seq 200); do d=$d/d; done; mkdir -p $d; touch $d/end');
  expect((await list(channel, 'deep', [['depth', 64]])).length === 64 && (await refusal(list(channel, 'w/e'))) === 'not_a_directory', 'a deep tree is no trouble');
}

export async function tryWatches(channel) {
  const seen = (watch) => watch.messages.slice(1).map(({ name, change }) => `${change} ${name}`);
  const flat = channel.open('watch', [['path', 'w/d']]);
  const deep = channel.open('watch', [['path', 'w'], ['recursive', 1]]);
  await Promise.all([flat, deep].map((watch) => watch.until(() => watch.messages.length > 0)));
  await write(channel, 'w/d/new', 'x');
  await write(channel, 'w/d/new', 'y');
  await channel.shell('echo z >> w/d/new; chmod 600 w/d/new; mv w/d/new w/d/old; rm w/d/old');
  await flat.until(() => seen(flat).includes('remove old'));
  const wanted = 'create new,write new,write new,write new,chmod new,rename new,create old,remove old';
  expect(seen(flat).join() === wanted, 'what happens in a folder is told', seen(flat));
  await deep.until(() => seen(deep).includes('remove d/old'));
  expect(seen(deep).join() === wanted.replaceAll(/(new|old)/g, 'd/$1'), 'and by its path below a folder', seen(deep));
  flat.cancel();
  const from = () => seen(deep).slice(wanted.split(',').length);
  await channel.shell('mkdir -p w/n/o/p; for i in $(seq 50); do mkdir -p w/n/q$i/r; done; touch w/n/q50/r/last');
  await deep.until(() => from().includes('create n/q50/r/last'));
  const made = from().filter((line) => line.startsWith('create'));
  const wantedFolders = ['n', 'n/o', 'n/o/p', ...Array.from({ length: 50 }, (_, at) => [`n/q${at + 1}`, `n/q${at + 1}/r`]).flat(), 'n/q50/r/last'];
  expect(made.length === wantedFolders.length && wantedFolders.every((name) => made.includes(`create ${name}`)), 'new folders are watched, and nothing in them is told twice or not at all', made);
  await channel.shell('mv w/n w/m');
  // It is entered folder by folder: what is written meanwhile may be told as there already.
  do await channel.shell('echo > w/m/q7/r/x');
  while (!from().includes('write m/q7/r/x'));
  await channel.shell('mv w/m /tmp/away');
  await deep.until(() => from().includes('rename m'));
  await channel.shell('echo > /tmp/away/o/unseen; rm -r w/a; touch w/stop');
  await deep.until(() => from().includes('create stop'));
  expect(!from().some((line) => line.includes('unseen')), 'a folder that moves is followed as far as the watch goes', from().slice(-8));
  deep.cancel();
  const gone = channel.open('watch', [['path', 'w/link']]);
  expect((await refusal(gone.done)) === 'not_found' && (await refusal(channel.call('watch', [['path', 'w/e']]))) === 'not_a_directory', 'what is no folder is refused');
  const itself = channel.open('watch', [['path', '/tmp/away']]);
  await itself.until(() => itself.messages.length > 0);
  await channel.shell('rm -r /tmp/away');
  await itself.until(() => seen(itself).includes('remove .'));
  expect(true, 'the end of the folder itself is told');
  const queue = (count) => channel.shell(`echo ${count} > /proc/sys/fs/inotify/max_queued_events`, [['user', 'root']]);
  await queue(64);
  const flooded = channel.open('watch', [['path', '/tmp']]);
  flooded.deaf = true;
  await flooded.until(() => flooded.messages.length > 0);
  // More than the stream's window and the kernel's queue hold.
  await channel.shell('name=$(printf "%0200d" 0); for i in $(seq 1000); do : > /tmp/${name}a; : > /tmp/${name}b; done');
  flooded.hear();
  expect((await refusal(flooded.done)) === 'limit', 'lost events are told as such');
  await queue(16384);
}
