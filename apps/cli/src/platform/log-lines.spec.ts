import { readable } from './log-lines';

it('turns a JSON line into words', () => {
  const line = JSON.stringify({ level: 50, time: Date.parse('2026-01-02T03:04:05.678Z'), name: 'api', err: { message: 'no', stack: 'long' }, port: 80, msg: 'not started' });
  expect(readable(line)).toBe('03:04:05.678 ERROR api        not started err=no port=80');
});

it.each(['plain words', '{"not":"a log line"}', '{broken'])('leaves %s as it is', (line) => {
  expect(readable(line)).toBe(line);
});
