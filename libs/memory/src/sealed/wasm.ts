/** What is used of the WebAssembly JavaScript interface (https://www.w3.org/TR/wasm-js-api-2/). Its types come with the DOM's, which this project does not have. */
interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
declare const compiledModule: unique symbol;
export interface WasmModule {
  readonly [compiledModule]: true;
}
interface Wasm {
  validate(bytes: Uint8Array): boolean;
  readonly Memory: new (pages: { initial: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: { m: { memory: WasmMemory } }) => { readonly exports: Readonly<Record<string, unknown>> };
}

export const wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;
