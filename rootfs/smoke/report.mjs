// What the smoke test says while it goes on.
let lastStep = performance.now();

/** Starts the clock of the first step; its time in ms. */
export function restart() {
  lastStep = performance.now();
  return lastStep;
}

/** Says how long something took. */
export function step(text) {
  const now = performance.now();
  process.stdout.write(`${String(Math.round(now - lastStep)).padStart(7)} ms  ${text}\n`);
  lastStep = now;
}

/** Ends the test unless it is so; `found` is shown then. */
export function expect(condition, text, found = undefined) {
  if (!condition) throw new Error(`not so: ${text}${found === undefined ? '' : `: ${JSON.stringify(found)}`}`);
  step(text);
}

/** The code with which a stream was refused; `none` when it was not. */
export async function refusal(promise) {
  try {
    await promise;
    return 'none';
  } catch (error) {
    return error.code ?? error;
  }
}
