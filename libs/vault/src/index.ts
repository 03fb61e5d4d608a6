export { canonicalJson } from './canonical-json';
export { exportBytesMax, packPkcs12, sealExport } from './exports';
export { FileKeyProvider } from './file-provider';
export type { HttpFetch } from './http';
export {
  keyProviderKinds, KeyUnavailable, keyUnavailableReason, type KeyProvider, type KeyProviderDescription, type KeyProviderKind, type KeyUnavailableReason,
} from './key-provider';
export { addRootKeyVersion, createRootKeyFile, shutRootKeyVersions } from './key-ring';
export { deriveSubkey, keyBytes, wipe } from './keys';
export { openProvider, openTenantProvider, type ProviderOptions } from './open-provider';
export { KeyProviderSettings, TenantKeyProviderSettings } from './provider-settings';
export { createReceiptKeyFile, openReceiptKey, receiptBytesMax, receiptKeyId, receiptText, ReceiptKey, signReceipt, verifyReceipt, verifyReceiptText, type ReceiptVerdict } from './receipts';
export { streamChunkBytesMax, streamChunkOverheadBytes, StreamOpener, streamPreambleBytes, StreamSealer } from './stream';
export { openValue, sealedOverheadBytes, sealValue, unwrapKey, wrapKey } from './value';
export { wrapVersion } from './wrap-envelope';
