/**
 * Runs inside the emulated host that has KVM: the QEMU driver with `-accel kvm`, without jest (every instruction is emulated twice here). Prints one line per
 * step, `ok - …` or `not ok - …`, in the order of `steps`. Usage: node inside.js ARTEFACTS HOME.
 */
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { newId, Secret, silentLog, systemClock } from '@alcove/base';
import { type ImageRef, isProblem, TemplateRecipe } from '@alcove/contracts';
import { buildTemplate, createQemuDriver, type GuestSession, type QemuDriver, requireEngine, type RoomSpec, type Template } from '@alcove/runtime';
import { steps, type StepName } from './steps';

const [artefacts = '', home = ''] = process.argv.slice(2);
const neverAborted = new AbortController().signal;
const machine = { qemuPath: 'qemu-system-x86_64', qemuImgPath: 'qemu-img', clock: systemClock, log: silentLog, tbSizeMiB: 32 };
const storeDir = join(home, 'store');

async function ask(guest: GuestSession, prompt: string): Promise<Record<string, unknown>> {
  const socket = await guest.connect(8080, 60_000, neverAborted);
  return new Promise((resolve, reject) => {
    const call = request({ method: 'POST', path: '/invocations', headers: { 'content-type': 'application/json' }, createConnection: () => socket }, (answer) => {
      text(answer).then((body) => resolve(JSON.parse(body) as Record<string, unknown>), reject);
    });
    call.on('error', reject);
    call.end(JSON.stringify({ prompt }));
  });
}

function expectThat(what: string, holds: boolean): void {
  if (!holds) throw new Error(what);
}

/** The steps in order; each goes on from the one before. */
class Story {
  readonly roomId = newId('room');
  driver!: QemuDriver;
  template!: Template;
  guest!: GuestSession;
  nonce: unknown;
  image!: ImageRef;
  incarnation = 0;

  room(change: Partial<RoomSpec> = {}): RoomSpec {
    const keys = { image: new Secret(Buffer.alloc(32, 1)), disk: new Secret(Buffer.alloc(32, 2)) };
    return { roomId: this.roomId, incarnation: this.incarnation, template: this.template, keys, env: {}, hasDisk: this.incarnation > 1, ...change };
  }

  readonly does: Record<StepName, () => Promise<void>> = {
    'the probe finds that KVM works': async () => {
      this.driver = await createQemuDriver({ ...machine, accelerator: 'auto', storeDir, hostDir: join(home, 'h'), uidBase: 7_340_032 });
      const report = await this.driver.probe();
      expectThat(`the probe says ${JSON.stringify(report)}`, report.ok && report.accelerator === 'kvm' && report.isolation === 'hardware');
    },
    'a template is captured under KVM': async () => {
      const engine = await requireEngine({ ...machine, accelerator: 'kvm' });
      const recipe = TemplateRecipe.parse(JSON.parse(await readFile(join(artefacts, 'template.json'), 'utf8')));
      const built = await buildTemplate({ artefacts, storeDir, recipe, engine, tbSizeMiB: 32, uid: null, clock: systemClock, log: silentLog }, () => undefined);
      this.template = { manifest: built.manifest, folder: built.folder };
    },
    'a room is restored from the template and answers': async () => {
      this.incarnation = 1;
      const started = await this.driver.restore(this.room(), { kind: 'template' });
      this.guest = started.guest;
      expectThat(`isolation is ${started.isolation}`, started.isolation === 'hardware');
      this.nonce = (await ask(this.guest, 'nonce'))['nonce'];
      expectThat('there is a nonce', typeof this.nonce === 'string');
    },
    'ten sleeps and wakes keep its RAM': async () => {
      for (let cycle = 1; cycle <= 10; cycle++) {
        this.image = (await this.driver.seal(this.room(), { generation: cycle })).image;
        await this.driver.stop(this.room());
        this.incarnation++;
        this.guest = (await this.driver.restore(this.room(), { kind: 'image', image: this.image })).guest;
        const counted = await ask(this.guest, 'count');
        expectThat(`cycle ${cycle} counted ${String(counted['counter'])}`, counted['counter'] === cycle);
      }
      expectThat('the nonce stayed', (await ask(this.guest, 'nonce'))['nonce'] === this.nonce);
    },
    'an image made for another engine is refused': async () => {
      this.image = (await this.driver.seal(this.room(), { generation: 11 })).image;
      await this.driver.stop(this.room());
      this.incarnation++;
      const emulated = await createQemuDriver({ ...machine, accelerator: 'tcg', storeDir, hostDir: join(home, 't'), uidBase: 7_440_032 });
      const refusal = await emulated.restore(this.room(), { kind: 'image', image: this.image }).then(() => 'started', (error: unknown) => (isProblem(error) ? error.code : String(error)));
      await emulated.close();
      expectThat(`it was answered with ${refusal}`, refusal === 'image.incompatible');
    },
    'the room then boots from its disk': async () => {
      const started = await this.driver.boot(this.room());
      this.guest = started.guest;
      expectThat('it is another process', (await ask(this.guest, 'nonce'))['nonce'] !== this.nonce);
      await this.driver.stop(this.room());
      await this.driver.discard(this.roomId);
      await this.driver.close();
    },
  };
}

async function main(): Promise<void> {
  const story = new Story();
  for (const step of steps) {
    const started = performance.now();
    try {
      await story.does[step]();
      console.log(`ok - ${step} (${Math.round(performance.now() - started)} ms)`);
    } catch (error) {
      console.log(`not ok - ${step}: ${error instanceof Error ? (error.stack ?? error.message).replaceAll('\n', ' | ') : String(error)}`);
      process.exit(1);
    }
  }
  process.exit(0);
}

void main();
