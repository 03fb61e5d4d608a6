import { styleFor } from '../terminal';
import { ClaimFailed, Stage } from './stage';

it('prints scenes, steps and claims, and stops at a claim that is not so', () => {
  let text = '';
  const stage = new Stage((more) => (text += more), styleFor(false));
  stage.scene('Asleep');
  stage.step('ada: hibernate', 23.4, '0.1 MiB');
  stage.claim('the nonce is the same', true);
  const more = stage.saying('room');
  more('one ');
  more('two\n');
  more(null);
  expect(() => stage.claim('the counter went on', false, '0')).toThrow(ClaimFailed);
  expect(stage.claims).toBe(1);
  expect(text.split('\n')).toEqual([
    '',
    '  1  Asleep',
    '     ada: hibernate                              23 ms   0.1 MiB',
    '     ✓ the nonce is the same',
    '      room › one two',
    '     ✗ the counter went on   found: 0',
    '',
  ]);
});
