import { edgeConfig } from './config';

const good = {
  ALCOVE_EDGE_LISTEN: '127.0.0.1:0', ALCOVE_EDGE_DOMAIN: 'Alcove.test:8443', ALCOVE_EDGE_CERT: '/dev/null', ALCOVE_EDGE_KEY: '/dev/null', ALCOVE_API_URL: 'http://127.0.0.1:1', ALCOVE_CONTROL_URL: 'https://127.0.0.1:2',
  ALCOVE_TLS_CA: '/dev/null', ALCOVE_TLS_CERT: '/dev/null', ALCOVE_TLS_KEY: '/dev/null',
};

it('takes a domain with or without a port, and a debug room by either name', () => {
  expect(edgeConfig(good)).toMatchObject({ domain: 'alcove.test', debug: null });
  for (const room of [`room_${'a'.repeat(20)}`, `i${'a'.repeat(20)}`]) {
    expect(edgeConfig({ ...good, ALCOVE_EDGE_DEBUG_ROOM: room }).debug).toEqual({ room: `room_${'a'.repeat(20)}`, listen: { host: '127.0.0.1', port: 49_983 } });
  }
});

it('bounds single addresses unless it is told that a proxy stands in front', () => {
  expect(edgeConfig(good).behindProxy).toBe(false);
  expect(edgeConfig({ ...good, ALCOVE_EDGE_BEHIND_PROXY: 'yes' }).behindProxy).toBe(true);
});

it.each([
  [{ ALCOVE_EDGE_BEHIND_PROXY: 'true' }, 'ALCOVE_EDGE_BEHIND_PROXY'],
  [{ ALCOVE_EDGE_DOMAIN: 'localhost' }, 'ALCOVE_EDGE_DOMAIN'],
  [{ ALCOVE_EDGE_DOMAIN: '127.0.0.1' }, 'ALCOVE_EDGE_DOMAIN'],
  [{ ALCOVE_EDGE_DOMAIN: '*.alcove.test' }, 'ALCOVE_EDGE_DOMAIN'],
  [{ ALCOVE_API_URL: 'http://10.0.0.1' }, 'ALCOVE_API_URL'],
  [{ ALCOVE_API_URL: 'https://127.0.0.1' }, 'ALCOVE_API_URL'],
  [{ ALCOVE_CONTROL_URL: 'http://127.0.0.1' }, 'ALCOVE_CONTROL_URL'],
  [{ ALCOVE_EDGE_DEBUG_ROOM: 'all' }, 'ALCOVE_EDGE_DEBUG_ROOM'],
  [{ ALCOVE_EDGE_DEBUG_LISTEN: '0.0.0.0:49983' }, 'ALCOVE_EDGE_DEBUG_LISTEN'],
  [{ ALCOVE_EDGE_DEBUG_LISTEN: '127.0.0.1.evil.example:1' }, 'ALCOVE_EDGE_DEBUG_LISTEN'],
  [{ ALCOVE_TLS_CA: '/nonexistent' }, 'ALCOVE_TLS_CA'],
  [{ ALCOVE_EDGE_DEBUG_ROM: 'x' }, 'no such setting'],
])('refuses %j', (change, said) => {
  expect(() => edgeConfig({ ...good, ...change })).toThrow(said);
});

it('refuses a certificate that cannot be read', () => {
  expect(() => edgeConfig({ ...good, ALCOVE_EDGE_KEY: '/nonexistent' }).certificate()).toThrow('ALCOVE_EDGE_KEY');
});
