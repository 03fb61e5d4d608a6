import { z } from 'zod';
import { BadSettings, ListenAddress, QueueSetting, readSettings } from './settings';

const schema = z.strictObject({ ALCOVE_LISTEN: ListenAddress, ALCOVE_QUEUE: QueueSetting.default('postgres') });

describe('settings', () => {
  it.each([
    ['127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['localhost:443', { host: 'localhost', port: 443 }],
  ])('takes %s as an address', (text, address) => {
    expect(readSettings(schema, { ALCOVE_LISTEN: text }).settings.ALCOVE_LISTEN).toEqual(address);
  });

  it.each(['8080', ':8080', 'host:', 'host:99999', 'a b:1', '::1:80'])('refuses %j as an address', (text) => {
    expect(() => readSettings(schema, { ALCOVE_LISTEN: text })).toThrow('ALCOVE_LISTEN: must be host:port');
  });

  it('says what is missing, and never a value', () => {
    expect(() => readSettings(schema, { ALCOVE_LISTEN: '', ALCOVE_QUEUE: 'secret' })).toThrow(new BadSettings('ALCOVE_LISTEN is missing; ALCOVE_QUEUE: must be postgres or a redis:// address'));
  });

  it('names what it does not know, and looks at ALCOVE_ names only', () => {
    expect(readSettings(schema, { ALCOVE_LISTEN: 'a:1', ALCOVE_LISTNE: 'b:2', PATH: '/bin' }).unknown).toEqual(['ALCOVE_LISTNE']);
  });

  it('takes a redis address', () => {
    expect(readSettings(schema, { ALCOVE_LISTEN: 'a:1', ALCOVE_QUEUE: 'redis://localhost:6379' }).settings.ALCOVE_QUEUE).toBeInstanceOf(URL);
  });
});
