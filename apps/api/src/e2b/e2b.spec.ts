import { isProblem, problemCodes, Problem, type ProblemCode } from '@alcove/contracts';
import fc from 'fast-check';
import { droppedNames } from '../door/checks';
import { isE2bPath, toE2bError } from './errors';
import { egressOf, lifecycleOf, metadataFilter, networkOf, ownerOf, toCreateRoom } from './mapping';
import { e2bRoutes } from './routes';
import { NewSandbox } from './shapes';

const seed = 20261125;

function codeOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return isProblem(error) ? error.code : String(error);
  }
  return undefined;
}

describe('a refusal', () => {
  it('says one number, and no more than ours would', () => {
    for (const code of Object.keys(problemCodes) as ProblemCode[]) {
      const problem = new Problem(code, { detail: 'only inside', errors: [{ path: 'a', message: 'b' }] });
      const error = toE2bError(problem);
      expect(Number.isInteger(error.code) && error.code >= 400 && error.code < 600).toBe(true);
      expect(error.message.includes('only inside')).toBe(problem.toBody().detail !== undefined);
    }
  });

  it('of a room that is busy is not what a pause takes for paused already', () => {
    expect(toE2bError(new Problem('room.busy')).code).toBe(503);
    expect(toE2bError(new Problem('room.not_running')).code).toBe(409);
    expect(toE2bError(new Problem('room.gone')).code).toBe(404);
  });

  it('is in E2B’s words on its paths, and only there', () => {
    for (const path of ['/sandboxes', '/sandboxes/x', '/v2/y?z', '/v3', '/templates?x', '/snapshots', '/volumes/a', '/secrets']) expect(isE2bPath(path)).toBe(true);
    for (const path of ['/v1/rooms', '/', '/sandboxesx', '/v20', '/healthz', '//sandboxes', '/docs/sandboxes']) expect(isE2bPath(path)).toBe(false);
    for (const { path } of Object.values(e2bRoutes)) expect(isE2bPath(path)).toBe(true);
  });
});

describe('what a new sandbox asks for', () => {
  it('becomes a lifecycle only as far as it was said', () => {
    expect(lifecycleOf({})).toEqual({});
    expect(lifecycleOf({ timeout: null, autoPause: null, autoPauseMemory: null, autoResume: null })).toEqual({});
    expect(lifecycleOf({ timeout: 60 })).toEqual({ timeoutMs: 60_000 });
    expect(lifecycleOf({ autoPause: true, autoResume: { enabled: true } })).toEqual({ onTimeout: 'pause', autoResume: true });
    expect(lifecycleOf({ autoPause: true, autoPauseMemory: false })).toEqual({ onTimeout: 'pause', keepMemory: false });
    expect(lifecycleOf({ autoPause: false })).toEqual({ onTimeout: 'kill' });
    expect(codeOf(() => lifecycleOf({ autoPause: true, autoPauseMemory: false, autoResume: { enabled: true } }))).toBe('request.invalid');
  });

  it('is refused, not passed over, where it is not to be had', () => {
    const asked = (more: object) => () => toCreateRoom(NewSandbox.parse({ templateID: 'base', ...more }), 'e2b:key_x');
    expect(codeOf(asked({ volumeMounts: [{ name: 'v', path: '/v' }] }))).toBe('unsupported');
    expect(codeOf(asked({ iam: { tokens: { a: {} } } }))).toBe('unsupported');
    expect(codeOf(asked({ network: { egressProxy: { address: 'proxy:1' } } }))).toBe('unsupported');
    expect(codeOf(asked({ network: { httpsPorts: [443] } }))).toBe('unsupported');
    expect(codeOf(asked({ volumeMounts: [], iam: { tokens: {} }, network: { httpsPorts: [], egressProxy: null }, mcp: {} }))).toBeUndefined();
  });

  it('is for the user that its metadata name, if that is a name', () => {
    expect(ownerOf({ userId: 'anna@example' }, 'k')).toBe('anna@example');
    for (const userId of ['', 'a b', 'x'.repeat(129), '../x', 'é']) expect(ownerOf({ userId }, 'k')).toBe('k');
    expect(ownerOf(null, 'k')).toBe('k');
    fc.assert(fc.property(fc.string(), (userId) => /^[A-Za-z0-9._@:+-]{1,128}$/.test(ownerOf({ userId }, 'k'))), { seed });
  });

  it('says of the network what was said, and an update clears what it does not name', () => {
    expect(networkOf({})).toBeUndefined();
    expect(networkOf({ allow_internet_access: false })).toEqual({ allowInternetAccess: false });
    expect(networkOf({ network: { allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}' } })).toMatchObject({ allowPublicTraffic: false, maskRequestHost: 'localhost:${PORT}', allowOut: [], allowInternetAccess: null });
    expect(egressOf({})).toEqual({ allowInternetAccess: null, allowOut: [], denyOut: [], rules: {}, egressProxy: null });
    expect(egressOf({ rules: { 'API.example.com': [{ transform: { headers: { a: 'b' } } }] } }).rules).toEqual({ 'api.example.com': [{ transform: { headers: { a: 'b' } } }] });
  });
});

describe('the filter by metadata', () => {
  it('is encoded twice, and comes back as it was', () => {
    const names = fc.string({ unit: 'grapheme', minLength: 1 }).filter((name) => name !== '__proto__');
    fc.assert(
      fc.property(fc.dictionary(names, fc.string({ unit: 'grapheme' }), { noNullPrototype: true }), (metadata) => {
        const encoded = new URLSearchParams(Object.entries(metadata).map(([name, value]): [string, string] => [encodeURIComponent(name), encodeURIComponent(value)])).toString();
        expect(metadataFilter(encoded)).toEqual(metadata);
      }),
      { seed },
    );
  });

  it('is refused when it cannot be read', () => {
    expect(codeOf(() => metadataFilter('a=%25zz'))).toBe('request.invalid');
    for (const nul of ['a=%2500', '%2500=b']) expect(codeOf(() => metadataFilter(nul))).toBe('request.invalid');
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => [undefined, 'request.invalid'].includes(codeOf(() => metadataFilter(text)))), { seed });
  });
});

it('the names that a check dropped are named, without their values', () => {
  const given = { templateID: 'base', mode: 'secret', network: { allowOut: ['a'], future: { deep: 1 } }, metadata: { any: 'thing' } };
  expect(droppedNames(given, NewSandbox.parse(given)).sort()).toEqual(['mode', 'network.future']);
  expect(droppedNames(Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`x${i}`, 1])), {})).toHaveLength(20);
  expect(droppedNames('text', {})).toEqual([]);
});
