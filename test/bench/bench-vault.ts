import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Secret } from '@alcove/base';
import { openValue, sealValue, StreamOpener, StreamSealer, unwrapKey, wrapKey } from '@alcove/vault';
import { percentile, summarise, target, type Summary, type Target } from './figures';
import type { BenchOptions, BenchReport } from './report';

/** What is compared: both seal and open the same bytes, and give the ciphertext back as one buffer with what is needed to open it. */
interface Contender {
  seal(plain: Buffer): Buffer;
  open(sealed: Buffer): Buffer;
}

const kib = 1 << 10;
const sizes = [{ name: '4 KiB', bytes: 4 * kib }, { name: '64 KiB', bytes: 64 * kib }, { name: '1 MiB', bytes: 1024 * kib }];
/** Each measurement works through so many bytes: long for the clock, short enough that most meet no garbage collection and no other process. */
const bytesPerMeasurement = 2 << 20;
/** Pairs of measurements for one sample that is asked for. */
const pairs = 8;
const streamChunks = 16;
const wrapsPerMeasurement = 2_000;
const aad = ['record', '0191f3a0-0000-7000-8000-000000000001', 'ann', 'rec_01', 'content', '1', '1'];

/** AES-256-GCM by itself: a random nonce, no derivation, no commitment, no associated data. */
function bare(key: Buffer): Contender {
  return {
    seal: (plain) => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      const ciphertext = cipher.update(plain);
      cipher.final();
      return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
    },
    open: (sealed) => {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 });
      decipher.setAuthTag(sealed.subarray(-16));
      const plain = decipher.update(sealed.subarray(12, -16));
      decipher.final();
      return plain;
    },
  };
}

/** `sealValue` and `openValue`: XAES-256-GCM with key commitment and associated data. */
function values(key: Secret<Buffer>): Contender {
  return { seal: (plain) => sealValue(key, plain, aad), open: (sealed) => openValue(key, sealed, aad) };
}

/** MiB per second of both contenders, measured in turn, and the value of the second as a part of the first, pair by pair: what the machine does besides meets both. */
function compare(contenders: readonly [Contender, Contender], bytes: number, { samples, say }: BenchOptions, what: string): { rates: Record<'seal' | 'open', [number[], number[]]>; ratios: Record<'seal' | 'open', number[]> } {
  const plain = randomBytes(bytes);
  const times = Math.ceil(bytesPerMeasurement / bytes);
  const sealed = contenders.map((one) => one.seal(plain));
  const found = { rates: { seal: [[], []] as [number[], number[]], open: [[], []] as [number[], number[]] }, ratios: { seal: [] as number[], open: [] as number[] } };
  for (let sample = -pairs; sample < samples * pairs; sample++) {
    if (sample % pairs === 0) say(`${what}, ${sample / pairs + 1} of ${samples}`);
    for (const verb of ['seal', 'open'] as const) {
      const rate = contenders.map((one, i) => perSecond(times, () => (verb === 'seal' ? one.seal(plain) : one.open(sealed[i] as Buffer))) * (bytes / (1 << 20)));
      // The first ones warm up.
      if (sample < 0) continue;
      for (const i of [0, 1] as const) found.rates[verb][i].push(rate[i] ?? 0);
      found.ratios[verb].push((rate[1] ?? 0) / (rate[0] ?? 1));
    }
  }
  return found;
}

function perSecond(times: number, work: () => unknown): number {
  const started = performance.now();
  for (let i = 0; i < times; i++) work();
  return (times * 1000) / (performance.now() - started);
}

/** The stream of images and disks' checkpoints: chunks of 1 MiB. */
function streamRates(key: Secret<Buffer>, samples: number): { seal: number[]; open: number[] } {
  const header = Buffer.from('bench');
  const plain = randomBytes(1 << 20);
  const chunks = streamChunks;
  const rates = { seal: [] as number[], open: [] as number[] };
  for (let sample = 0; sample < samples; sample++) {
    const sealer = new StreamSealer(key, header);
    const sealed: Buffer[] = [];
    rates.seal.push(perSecond(chunks, () => sealed.push(sealer.seal(plain, sealed.length === chunks - 1))));
    const opener = new StreamOpener(key, header, sealer.preamble);
    let at = 0;
    rates.open.push(perSecond(chunks, () => opener.open(sealed[at] as Buffer, ++at === chunks)));
  }
  return rates;
}

/** What sealing costs against AES-256-GCM by itself in the same run, and how many keys are wrapped in a second. Needs no platform. */
export function benchVault(options: BenchOptions): Pick<BenchReport, 'figures' | 'targets'> {
  const key = new Secret(randomBytes(32));
  const figures: Record<string, Summary | number | string> = {};
  const targets: Target[] = [];
  for (const { name, bytes } of sizes) {
    const { rates, ratios } = compare([bare(randomBytes(32)), values(key)], bytes, options, name);
    for (const verb of ['seal', 'open'] as const) {
      figures[`${verb} ${name}, MiB/s`] = summarise(rates[verb][1]);
      figures[`${verb} ${name} by AES-256-GCM alone, MiB/s`] = summarise(rates[verb][0]);
      const ratio = percentile(ratios[verb], 50);
      figures[`${verb} ${name}, part of AES-256-GCM alone`] = Math.round(ratio * 100) / 100;
      if (bytes >= 64 * kib) targets.push(target(`${verb} ${name} / AES-256-GCM alone, p50`, ratio, '>=', 0.8));
    }
  }
  const streams = streamRates(key, options.samples);
  for (const verb of ['seal', 'open'] as const) figures[`${verb} a stream, chunks of 1 MiB, MiB/s`] = summarise(streams[verb]);
  options.say('wraps');
  const wrapped = wrapKey(key, key, aad);
  const wraps = (work: () => unknown): Summary => summarise(Array.from({ length: options.samples }, () => perSecond(wrapsPerMeasurement, work)));
  figures['wraps of a key, per second'] = wraps(() => wrapKey(key, key, aad));
  figures['unwraps of a key, per second'] = wraps(() => unwrapKey(key, wrapped, aad));
  return { figures, targets };
}
