import fc from 'fast-check';
import { envelope, keepaliveMsOf, kindOf, openEnvelope, timeoutMsOf } from './connect-codec';
import { SurfaceError } from './surface-error';

describe('an envelope', () => {
  it('holds any JSON', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => expect(openEnvelope(envelope(0, value))).toEqual(JSON.parse(JSON.stringify(value)))));
  });
  it('is opened, or refused in the protocol’s words, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          openEnvelope(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(SurfaceError);
        }
      }),
    );
  });
  it('is never opened when one byte is missing or too many', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), (value, at) => {
        const whole = envelope(0, value);
        expect(() => openEnvelope(whole.subarray(0, at % whole.length))).toThrow(SurfaceError);
        expect(() => openEnvelope(Buffer.concat([whole, Buffer.from([0])]))).toThrow(SurfaceError);
      }),
    );
  });
});

it.each([
  ['application/json', 'unary'],
  ['Application/JSON; charset=utf-8', 'unary'],
  ['application/connect+json', 'stream'],
])('%s is %s', (type, kind) => expect(kindOf(type)).toBe(kind));
it.each(['application/proto', 'application/grpc-web+json', 'application/jsonx', '', undefined])('%s is not spoken', (type) => {
  expect(() => kindOf(type)).toThrow(expect.objectContaining({ status: 415 }));
});
it.each([
  ['60000', 60_000],
  ['0', undefined],
  [undefined, undefined],
  ['9999999999', 9_999_999_999],
])('a timeout of %s', (header, ms) => expect(timeoutMsOf(header)).toBe(ms));
it.each(['', '-1', '1.5', '1e3', '12345678901', ' 1'])('no timeout of %j', (header) => {
  expect(() => timeoutMsOf(header)).toThrow(SurfaceError);
});
it.each([
  ['50', 50_000],
  ['0', 90_000],
  ['999999', 3_600_000],
  ['soon', 90_000],
  [undefined, 90_000],
])('a word every %s', (header, ms) => expect(keepaliveMsOf(header)).toBe(ms));
