/** Snapshots and forks of real rooms: the memory comes along, the identity does not. */
import { Sandbox } from 'e2b';
import { until } from '../../e2e/platform';
import { failureOf, roomIdOf, Tenancy } from './sdk';

jest.setTimeout(300_000);
let mine: Tenancy;
let origin: Sandbox;
let pid: number;
let sha: string;
const keeper = `
import hashlib, os, sys
held = os.urandom(2 << 20)
print("holds " + hashlib.sha256(held).hexdigest(), flush=True)
for line in sys.stdin:
    print(hashlib.sha256(held).hexdigest() + " " + line.strip(), flush=True)
`;
beforeAll(async () => {
  mine = await Tenancy.open('qemu');
  origin = await mine.create({ metadata: { userId: 'anna', suite: 'copies' } });
  await origin.files.write('keeper.py', keeper);
  await origin.files.write('kept.txt', 'of the origin');
  let heard = '';
  ({ pid } = await origin.commands.run('python3 keeper.py', { background: true, stdin: true, timeoutMs: 0, onStdout: (data: string) => void (heard += data) }));
  sha = (await until('it holds', () => Promise.resolve(/holds ([0-9a-f]{64})/.exec(heard))))[1] ?? '';
});
afterAll(() => mine?.close());

const sh = async (sandbox: Sandbox, command: string): Promise<string> => (await sandbox.commands.run(command)).stdout.trim();
/** Forks of the origin; throws what one of them could not be made for. */
async function forked(options: Parameters<Sandbox['fork']>[0] = {}): Promise<Sandbox[]> {
  return (await origin.fork(options)).map((fork) => {
    if (!(fork instanceof Sandbox)) throw fork;
    return mine.keep(fork);
  });
}
/** What the process that was begun in the origin says in this copy. */
async function askKeeper(sandbox: Sandbox, word: string): Promise<string> {
  let answer = '';
  const listener = await sandbox.commands.connect(pid, { timeoutMs: 0, onStdout: (data: string) => void (answer += data) });
  await sandbox.commands.sendStdin(pid, `${word}\n`);
  await until('it answers', () => Promise.resolve(answer.endsWith('\n')));
  await listener.disconnect();
  return answer.trim();
}
const identityOf = async (sandbox: Sandbox): Promise<string[]> => (await sh(sandbox, 'cat /etc/machine-id /etc/hostname; head -c 16 /dev/urandom | od -An -tx1')).split('\n').map((line) => line.trim());

describe('fork', () => {
  it('gives running copies with the memory of the origin, which goes on', async () => {
    const { endAt } = await origin.getInfo();
    const [one, two] = (await forked({ count: 2, timeoutMs: 600_000 })) as [Sandbox, Sandbox];
    expect(new Set([origin, one, two].map(({ sandboxId }) => sandboxId)).size).toBe(3);
    expect(await Promise.all([origin, one, two].map((sandbox, i) => askKeeper(sandbox, String(i))))).toEqual([0, 1, 2].map((i) => `${sha} ${i}`));
    expect((await origin.getInfo()).endAt.getTime()).toBe(endAt.getTime());
    const tokens = [origin, one, two].map((sandbox) => (sandbox as unknown as { envdAccessToken: string }).envdAccessToken);
    expect(new Set(tokens).size).toBe(3);
  });

  it('draws an identity and randomness of its own in every copy', async () => {
    const forks = await forked({ count: 2 });
    const found = await Promise.all([origin, ...forks].map(identityOf));
    for (let i = 0; i < 3; i++) expect(new Set(found.map((one) => one[i])).size).toBe(3);
    expect(new Set(await Promise.all([origin, ...forks].map((sandbox) => sh(sandbox, 'python3 -c "import uuid; print(uuid.uuid4())"')))).size).toBe(3);
  });

  it('keeps the copies apart: none sees what another one writes', async () => {
    const [fork] = (await forked()) as [Sandbox];
    await fork.files.write('kept.txt', 'of the copy');
    await fork.commands.run('rm keeper.py');
    expect(await origin.files.read('kept.txt')).toBe('of the origin');
    expect(await origin.files.exists('keeper.py')).toBe(true);
    await fork.kill();
    expect(await askKeeper(origin, 'still')).toBe(`${sha} still`);
  });

  it('stays with the user of the origin, and is a room as any other', async () => {
    const [fork] = (await forked()) as [Sandbox];
    expect(await mine.v1.room(roomIdOf(fork.sandboxId))).toMatchObject({ userId: 'anna', state: 'running' });
    await fork.pause();
    await fork.connect();
    expect(await askKeeper(fork, 'slept')).toBe(`${sha} slept`);
  });

  it('refuses none and too many', async () => {
    for (const count of [0, -1, 100_000]) expect((await failureOf(origin.fork({ count }))).message).toMatch(/^400: /);
  });
});

describe('snapshot', () => {
  it('makes sandboxes with the memory and the files of its moment, also when the origin changed and slept since', async () => {
    await origin.files.write('moment.txt', 'then');
    const snapshot = await origin.createSnapshot();
    await origin.files.write('moment.txt', 'later');
    expect((await origin.getInfo()).state).toBe('running');
    const [one, two] = [mine.keep(await Sandbox.create(snapshot.snapshotId, mine.at)), mine.keep(await Sandbox.create(snapshot.snapshotId, mine.at))];
    for (const copy of [one, two]) {
      expect(await copy.files.read('moment.txt')).toBe('then');
      expect(await askKeeper(copy, 'copy')).toBe(`${sha} copy`);
    }
    expect(await origin.files.read('moment.txt')).toBe('later');
    expect((await identityOf(one))[0]).not.toBe((await identityOf(two))[0]);
    expect(await Sandbox.deleteSnapshot(snapshot.snapshotId, mine.at)).toBe(true);
  });

  it('is listed, of all and of one sandbox, page by page, until it is deleted', async () => {
    const made = [await origin.createSnapshot(), await origin.createSnapshot({ name: 'named' })];
    expect(made[1]?.names.join()).toContain('named');
    const found: string[] = [];
    const paginator = Sandbox.listSnapshots({ ...mine.at, sandboxId: origin.sandboxId, limit: 1 });
    while (paginator.hasNext) found.push(...(await paginator.nextItems()).map(({ snapshotId }) => snapshotId));
    expect(found.sort()).toEqual(made.map(({ snapshotId }) => snapshotId).sort());
    expect((await origin.listSnapshots().nextItems()).map(({ snapshotId }) => snapshotId).sort()).toEqual(found);
    expect(await Sandbox.listSnapshots({ ...mine.at, sandboxId: 'i0123456789abcdef0123' }).nextItems()).toEqual([]);
    for (const { snapshotId } of made) expect(await Sandbox.deleteSnapshot(snapshotId, mine.at)).toBe(true);
    expect(await Sandbox.deleteSnapshot(made[0]?.snapshotId ?? '', mine.at)).toBe(false);
    expect(await origin.listSnapshots().nextItems()).toEqual([]);
  });

  it('outlives its sandbox, and is found by its name', async () => {
    const short = await mine.create({ metadata: { userId: 'anna' } });
    await short.files.write('last.txt', 'will');
    const snapshot = await short.createSnapshot({ name: 'last-will' });
    await short.kill();
    const heir = mine.keep(await Sandbox.create(snapshot.names[0] ?? snapshot.snapshotId, mine.at));
    expect(await heir.files.read('last.txt')).toBe('will');
    await Sandbox.deleteSnapshot(snapshot.snapshotId, mine.at);
  });

  it('is no sandbox: not listed among them, not connected to, not killed as one', async () => {
    const snapshot = await origin.createSnapshot();
    const listed = await Sandbox.list({ ...mine.at }).nextItems();
    expect(listed.every(({ state }) => state === 'running' || state === 'paused')).toBe(true);
    expect(listed.map(({ sandboxId }) => sandboxId)).not.toContain(snapshot.snapshotId);
    expect((await failureOf(Sandbox.connect(snapshot.snapshotId, mine.at))).name).toMatch(/Error$/);
    await Sandbox.deleteSnapshot(snapshot.snapshotId, mine.at);
  });

  it("is of no use to another tenant", async () => {
    const snapshot = await origin.createSnapshot();
    const theirs = await Tenancy.open('qemu');
    expect((await failureOf(Sandbox.create(snapshot.snapshotId, theirs.at))).message).toMatch(/^40[0-9]: /);
    expect(await Sandbox.deleteSnapshot(snapshot.snapshotId, theirs.at)).toBe(false);
    expect(await Sandbox.listSnapshots(theirs.at).nextItems()).toEqual([]);
    expect(await Sandbox.deleteSnapshot(snapshot.snapshotId, mine.at)).toBe(true);
  });
});
