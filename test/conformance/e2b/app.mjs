/** An application as anyone would write it for E2B: it knows nothing of Alcove but E2B_DOMAIN and E2B_API_KEY. Prints one line of JSON. */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { Sandbox } from 'e2b';

const main = createRequire(import.meta.url).resolve('e2b');
const { version } = JSON.parse(await readFile(main.replace(/\/dist\/.*/, '/package.json'), 'utf8'));
const sandbox = await Sandbox.create({ metadata: { app: 'smoke' } });
const said = await sandbox.commands.run('echo "hello from $(uname)"');
await sandbox.files.write('/home/user/note.txt', 'a note');
await sandbox.pause();
const again = await Sandbox.connect(sandbox.sandboxId);
const note = await again.files.read('/home/user/note.txt');
const listed = (await Sandbox.list().nextItems()).some(({ sandboxId }) => sandboxId === sandbox.sandboxId);
const killed = await again.kill();
console.log(JSON.stringify({ version, said: said.stdout, note, listed, killed, running: await again.isRunning() }));
