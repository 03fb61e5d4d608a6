export { createRootKeyFile, FileKeyProvider, type KeyProvider } from './key-provider';
export { deriveSubkey, keyBytes, wipe } from './keys';
export { streamChunkBytesMax, streamChunkOverheadBytes, StreamOpener, streamPreambleBytes, StreamSealer } from './stream';
export { openValue, sealedOverheadBytes, sealValue, unwrapKey, wrapKey } from './value';
