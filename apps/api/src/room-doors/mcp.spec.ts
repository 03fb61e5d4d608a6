import type { DoorAnswer, DoorCall } from '@alcove/contracts';
import { answerMcp } from './mcp';

const modern = '2026-07-28';
const meta = { 'io.modelcontextprotocol/protocolVersion': modern, 'io.modelcontextprotocol/clientCapabilities': {} };
const echo = async (name: string, given: unknown) => (name === 'echo' ? { content: [{ type: 'text' as const, text: JSON.stringify(given ?? null) }] } : undefined);

const post = (message: unknown, headers: DoorCall['headers'] = {}): Promise<DoorAnswer> => answerMcp({ headers, body: typeof message === 'string' ? message : JSON.stringify(message) }, echo);
const ask = (method: string, params: object = {}, headers: DoorCall['headers'] = {}) => post({ jsonrpc: '2.0', id: 7, method, params }, headers);
const now = (method: string, params: object = {}, headers: DoorCall['headers'] = {}) => ask(method, { ...params, _meta: meta }, { 'mcp-protocol-version': modern, 'mcp-method': method, ...headers });
const said = (answer: DoorAnswer) => ({ status: answer.status, ...(JSON.parse(answer.body ?? '{}') as { result?: Record<string, unknown>; error?: { code: number; data?: unknown }; id?: unknown }) });

describe('the revision of today', () => {
  it('says what it can, lists and calls tools, without a handshake', async () => {
    expect(said(await now('server/discover'))).toMatchObject({ status: 200, id: 7, result: { resultType: 'complete', supportedVersions: [modern, '2025-11-25', '2025-06-18', '2025-03-26'], capabilities: { tools: {} } } });
    const { result } = said(await now('tools/list'));
    expect((result?.['tools'] as { name: string; inputSchema: { type: string } }[]).map(({ name, inputSchema }) => [name, inputSchema.type])).toEqual([['remember', 'object'], ['recall', 'object'], ['forget', 'object'], ['list', 'object']]);
    expect(said(await now('tools/call', { name: 'echo', arguments: { a: 1 } }, { 'mcp-name': 'echo' }))).toMatchObject({ result: { resultType: 'complete', content: [{ text: '{"a":1}' }] } });
    expect(said(await now('tools/call', { name: 'echo' }, { 'mcp-name': '=?base64?ZWNobw==?=' }))).toMatchObject({ result: { content: [{ text: 'null' }] } });
  });
  it.each<[string, number, number, Promise<DoorAnswer>]>([
    ['another method in the header', 400, -32020, now('tools/list', {}, { 'mcp-method': 'tools/call' })],
    ['no method in the header', 400, -32020, ask('tools/list', { _meta: meta }, { 'mcp-protocol-version': modern })],
    ['no version in the header', 400, -32020, ask('tools/list', { _meta: meta })],
    ['another version in the header', 400, -32020, now('tools/list', {}, { 'mcp-protocol-version': '2025-11-25' })],
    ['the version in the header only', 400, -32020, ask('tools/list', {}, { 'mcp-protocol-version': modern })],
    ['another name in the header', 400, -32020, now('tools/call', { name: 'echo' }, { 'mcp-name': 'recall' })],
    ['no name in the header', 400, -32020, now('tools/call', { name: 'echo' })],
    ['no capabilities', 400, -32602, ask('tools/list', { _meta: { 'io.modelcontextprotocol/protocolVersion': modern } }, { 'mcp-protocol-version': modern, 'mcp-method': 'tools/list' })],
    ['a method that there is not', 404, -32601, now('resources/list')],
    ['what belongs to sessions', 404, -32601, now('initialize')],
    ['a tool that there is not', 200, -32602, now('tools/call', { name: 'nothing' }, { 'mcp-name': 'nothing' })],
  ])('refuses %s', async (_what, status, code, answer) => {
    expect(said(await answer)).toMatchObject({ status, id: 7, error: { code } });
  });
  it('names the versions that it speaks when another is asked for', async () => {
    const asked = ask('tools/list', { _meta: { ...meta, 'io.modelcontextprotocol/protocolVersion': '1900-01-01' } }, { 'mcp-protocol-version': '1900-01-01', 'mcp-method': 'tools/list' });
    expect(said(await asked)).toMatchObject({ status: 400, error: { code: -32022, data: { supported: [modern, '2025-11-25', '2025-06-18', '2025-03-26'], requested: '1900-01-01' } } });
  });
});

describe('the revisions before', () => {
  it('begin with initialize, and keep no session', async () => {
    for (const [asked, given] of [['2025-06-18', '2025-06-18'], ['2024-11-05', '2025-11-25'], [modern, '2025-11-25']]) {
      const answer = await ask('initialize', { protocolVersion: asked, capabilities: {}, clientInfo: { name: 'x', version: '1' } });
      expect(said(answer)).toMatchObject({ status: 200, result: { protocolVersion: given, capabilities: { tools: {} } } });
      expect(Object.keys(answer.headers)).toEqual(['content-type']);
    }
    expect(await post({ jsonrpc: '2.0', method: 'notifications/initialized' }, { 'mcp-protocol-version': '2025-11-25' })).toEqual({ status: 202, headers: {}, body: null });
    expect(said(await ask('ping')).result).toEqual({});
    expect(said(await ask('tools/call', { name: 'echo', arguments: {} })).result).toEqual({ content: [{ type: 'text', text: '{}' }] });
    expect(said(await ask('resources/list'))).toMatchObject({ status: 200, error: { code: -32601 } });
    expect(said(await ask('ping', {}, { 'mcp-protocol-version': '1900-01-01' }))).toMatchObject({ status: 400, error: { code: -32022 } });
  });
  it.each([['', -32700], ['{', -32700], ['null', -32600], ['[]', -32600], ['[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600], ['{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600], ['{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600], ['{"jsonrpc":"2.0","id":1,"result":{}}', -32600], ['{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600]])('refuses %s', async (body, code) => {
    const answer = said(await post(body));
    expect(answer).toMatchObject({ status: 400, error: { code } });
    expect(answer.id).toBeUndefined();
  });
});
