/** The only place of this lib that reads the environment. */

const seeds = process.env['SIM_SEEDS'];

export const testingConfig = {
  /** `SIM_SEEDS=500`: the first 500 · `SIM_SEEDS=1000-1999`: these · `SIM_SEEDS=17,4711`: just these · absent: the saved ones only. */
  simSeeds: seeds === undefined || seeds === '' ? null : parseSeeds(seeds),
};

function parseSeeds(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from = NaN, to] = part.split('-').map(Number);
    const [first, last] = to === undefined ? (text.includes(',') ? [from, from] : [0, from - 1]) : [from, to];
    if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last) || last < first) throw new TypeError(`SIM_SEEDS: ${part} is not a number or a range`);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}
