import { Tunnels } from './ports';

it('bounds the tunnels of a room and those of all rooms together, and gives every place back once it is left', () => {
  const tunnels = new Tunnels(2, 3);
  const enter = (room: string): (() => void) | string => {
    try {
      return tunnels.enter(room);
    } catch (error) {
      return (error as { detail: string }).detail;
    }
  };
  const [first, second] = [enter('a'), enter('a')];
  expect(enter('a')).toContain('of this room');
  const third = enter('b');
  expect(enter('b')).toContain('on this host');
  expect(enter('c')).toContain('on this host');
  for (const leave of [first, second, third]) if (typeof leave === 'function') leave();
  expect(['a', 'a', 'b'].map((room) => typeof enter(room))).toEqual(['function', 'function', 'function']);
});
