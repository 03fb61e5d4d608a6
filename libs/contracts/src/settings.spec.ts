import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { BadSettings, ListenAddress, qdrantConfig, QueueSetting, readSettings } from './settings';

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

describe('the settings of a Qdrant server', () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-qdrant-'));
  const [key, empty] = [join(folder, 'key'), join(folder, 'empty')];
  writeFileSync(key, 'a key of qdrant\n');
  writeFileSync(empty, '\n');
  afterAll(() => rmSync(folder, { recursive: true }));

  it('are none, an address, or an address and a key', () => {
    expect(qdrantConfig({})).toBeNull();
    expect(qdrantConfig({ ALCOVE_QDRANT_URL: 'http://10.0.0.7:6333' })).toEqual({ url: 'http://10.0.0.7:6333', apiKey: null });
    for (const url of ['https://q.example', 'http://127.0.0.1:6333', 'http://localhost:6333', 'http://[::1]:6333']) expect(qdrantConfig({ ALCOVE_QDRANT_URL: url, ALCOVE_QDRANT_API_KEY_FILE: key })?.apiKey?.expose()).toBe('a key of qdrant');
  });

  it.each([
    [{ ALCOVE_QDRANT_API_KEY_FILE: key }, 'ALCOVE_QDRANT_URL is missing'],
    [{ ALCOVE_QDRANT_URL: 'http://10.0.0.7:6333', ALCOVE_QDRANT_API_KEY_FILE: key }, 'ALCOVE_QDRANT_URL: must be https://'],
    [{ ALCOVE_QDRANT_URL: 'https://u:p@q.example' }, 'ALCOVE_QDRANT_URL: must hold no user and no password'],
    [{ ALCOVE_QDRANT_URL: 'https://q.example', ALCOVE_QDRANT_API_KEY_FILE: empty }, 'is empty'],
    [{ ALCOVE_QDRANT_URL: 'https://q.example', ALCOVE_QDRANT_API_KEY_FILE: '/nonexistent' }, 'ALCOVE_QDRANT_API_KEY_FILE: /nonexistent cannot be read (ENOENT)'],
  ])('are refused: %j', (settings, message) => {
    expect(() => qdrantConfig(settings)).toThrow(message);
  });
});
