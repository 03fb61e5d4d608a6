import { Interrupts } from './interrupts';

it('undoes in reverse, everything, once', async () => {
  const done: string[] = [];
  const interrupts = new Interrupts();
  const note = (name: string) => async () => void done.push(name);
  interrupts.add('first', note('first'));
  interrupts.add('broken', () => Promise.reject(new Error('no')));
  const dispose = interrupts.add('finished by itself', note('finished by itself'));
  interrupts.add('last', note('last'));
  dispose();
  expect(await interrupts.run()).toEqual(['broken']);
  expect(await interrupts.run()).toEqual([]);
  expect(done).toEqual(['last', 'first']);
});
