import { createRequire } from 'node:module';
import { formOf, rendered, replies, type Form } from './replies';

/** What the published SDK reads its answers with: the Connect client that it brings. */
const connect = createRequire(require.resolve('e2b'));
const { Code } = connect('@connectrpc/connect') as { Code: Record<string, number> };
interface RpcError {
  code: number;
  rawMessage: string;
}
const protocol = connect('@connectrpc/connect/protocol-connect') as {
  validateResponse(kind: string, binary: boolean, status: number, headers: Headers): { isUnaryError: boolean; unaryError?: RpcError };
  errorFromJsonBytes(bytes: Uint8Array, metadata: Headers, fallback?: RpcError): RpcError;
  endStreamFromJson(bytes: Uint8Array): { error?: RpcError };
};

function read(form: Form, { status, headers, bytes }: ReturnType<typeof rendered>): RpcError | undefined {
  const all = new Headers();
  for (let at = 0; at < headers.length; at += 2) all.append(headers[at] ?? '', headers[at + 1] ?? '');
  expect(all.get('content-length')).toBe(String(bytes.length));
  const { isUnaryError, unaryError } = protocol.validateResponse(form === 'unary' ? 'unary' : 'server_streaming', false, status, all);
  expect(isUnaryError).toBe(form === 'unary');
  if (isUnaryError) return protocol.errorFromJsonBytes(bytes, all, unaryError);
  expect([bytes[0], bytes.readUInt32BE(1)]).toEqual([2, bytes.length - 5]);
  return protocol.endStreamFromJson(bytes.subarray(5)).error;
}

it.each([
  ['busy', replies.busy(), 'ResourceExhausted'],
  ['busyAddress', replies.busyAddress(), 'ResourceExhausted'],
  ['tooMany', replies.tooMany('i', 'host'), 'ResourceExhausted'],
  ['cannotNow', replies.cannotNow('i', 'host'), 'Unavailable'],
])('%s reads right for clients of Connect', (_name, reply, code) => {
  for (const form of ['unary', 'stream'] as const) expect(read(form, rendered(reply, form))).toMatchObject({ code: Code[code], rawMessage: reply.body.message });
});

it('leaves the status to say of every other answer what it says', () => {
  for (const form of ['json', 'unary', 'stream'] as const) expect(rendered(replies.notFound('i'), form)).toMatchObject({ status: 502, bytes: Buffer.from(JSON.stringify({ sandboxId: 'i', message: 'The sandbox was not found', code: 502 })) });
  expect(rendered(replies.unauthorized('no'), 'stream').bytes.toString()).toBe('{"code":401,"message":"no"}');
});

it.each([
  ['POST', '/process.Process/Start', { 'content-type': 'application/connect+json' }, 'stream'],
  ['POST', '/filesystem.Filesystem/Stat', { 'content-type': 'Application/JSON; charset=utf-8' }, 'unary'],
  ['POST', '/files', { 'content-type': 'application/json' }, 'json'],
  ['POST', '/process.Process/Start', {}, 'json'],
  ['GET', '/process.Process/Start', { 'content-type': 'application/json' }, 'json'],
  ['GET', '/', { accept: 'text/html' }, 'page'],
] as const)('%s %s %j wants %s', (method, target, headers, form) => {
  expect(formOf(method, target, headers)).toBe(form);
});
