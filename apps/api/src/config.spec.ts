import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { apiConfig, describeConfig } from './config';

describe("the API's settings", () => {
  const folder = mkdtempSync(join(tmpdir(), 'alcove-config-'));
  const pem = join(folder, 'x.pem');
  writeFileSync(pem, 'PEM');
  afterAll(() => rmSync(folder, { recursive: true }));
  const good = {
    ALCOVE_API_LISTEN: '127.0.0.1:8080',
    ALCOVE_INTERNAL_LISTEN: '127.0.0.1:8081',
    ALCOVE_DATABASE_URL: 'postgres://app:hunter2@127.0.0.1:5432/alcove?sslmode=disable',
    ALCOVE_KEYS_DATABASE_URL: 'postgres://app:hunter2@127.0.0.1:5433/keys',
    ALCOVE_TLS_CA: pem,
    ALCOVE_TLS_CERT: pem,
    ALCOVE_TLS_KEY: pem,
    ALCOVE_ROOT_KEY_FILE: '/k',
    ALCOVE_RECEIPT_KEY_FILE: '/r',
    ALCOVE_PLATFORM_KEY_SHA256: 'a'.repeat(64),
  };

  it('have safe defaults', () => {
    expect(apiConfig(good)).toMatchObject({ queue: 'postgres', docs: 'keys', trustProxy: false, logLevel: 'info', listen: { host: '127.0.0.1', port: 8080 } });
  });

  it.each([
    [{ ALCOVE_DOCS: 'yes' }, /^ALCOVE_DOCS: /],
    [{ ALCOVE_PLATFORM_KEY_SHA256: 'A' }, 'ALCOVE_PLATFORM_KEY_SHA256: must be 64 lower-case hex digits'],
    [{ ALCOVE_DATABASE_URL: 'mysql://x' }, 'ALCOVE_DATABASE_URL: must be a postgres:// address'],
    [{ ALCOVE_TLS_KEY: '/nonexistent' }, 'ALCOVE_TLS_KEY: /nonexistent cannot be read (ENOENT)'],
    [{ ALCOVE_API_LISTEN: '' }, 'ALCOVE_API_LISTEN is missing'],
    [{ ALCOVE_TRUST_PROXY: 'proxy' }, 'ALCOVE_TRUST_PROXY: must be true, false, or addresses'],
    [{ ALCOVE_TRUST_PROXY: '10.0.0.0/33' }, 'ALCOVE_TRUST_PROXY: must be true, false, or addresses'],
    [{ ALCOVE_DOC: 'off' }, 'ALCOVE_DOC: no such setting'],
  ])('refuse %j in one line', (change, message) => {
    expect(() => apiConfig({ ...good, ...change })).toThrow(message);
  });

  it('name a Qdrant server, and never its key', () => {
    const config = apiConfig({ ...good, ALCOVE_QDRANT_URL: 'https://q.example:6333', ALCOVE_QDRANT_API_KEY_FILE: pem });
    expect([config.qdrant?.apiKey?.expose(), describeConfig(config)['qdrant']]).toEqual(['PEM', 'https://q.example:6333/']);
    expect(apiConfig(good).qdrant).toBeNull();
  });

  it('are said at start without what is secret', () => {
    const said = JSON.stringify(describeConfig(apiConfig({ ...good, ALCOVE_QUEUE: 'redis://:hunter2@r:6379', ALCOVE_TRUST_PROXY: '10.0.0.0/8, ::1' })));
    expect(said).not.toContain('hunter2');
    expect(said).toContain('postgres://127.0.0.1:5432/alcove');
    expect(said).toContain('"trustProxy":["10.0.0.0/8","::1"]');
  });
});
