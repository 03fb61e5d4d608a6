import { Secret } from '@alcove/base';
import { z } from 'zod';

const secretText = z.string().min(1).max(4096).regex(/^[\x21-\x7e]+$/, 'must be visible ASCII').transform((text) => new Secret(text));
const absolutePath = z.string().max(4096).regex(/^\/[^\0]*$/, 'must be an absolute path');
const isBare = (text: string): boolean => {
  const { username, password, search, hash } = new URL(text);
  return `${username}${password}${search}${hash}` === '';
};
const httpUrl = z.url({ protocol: /^https?$/ }).max(2048).refine(isBare, 'must be without user, query and fragment');
const httpsUrl = z.url({ protocol: /^https$/ }).max(2048).refine(isBare, 'must be without user, query and fragment');
const kmsKeyArn = z.string().regex(/^arn:aws(-cn|-us-gov)?:kms:[a-z]{2}(-[a-z]+)+-\d{1,2}:\d{12}:key\/[A-Za-z0-9-]{1,64}$/, 'must be the ARN of a key, no alias: an alias can be turned to another key');
/** No dots and slashes at the ends, no `..`: it becomes part of a path. */
const pathWords = z.string().max(256).regex(/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/);
/** Long-lived or temporary access keys. */
export const AwsCredentials = z.strictObject({ accessKeyId: z.string().regex(/^[A-Z0-9]{16,128}$/), secretAccessKey: secretText, sessionToken: secretText.optional() });

const file = z.strictObject({ kind: z.literal('file'), path: absolutePath });
const pkcs11 = z.strictObject({
  kind: z.literal('pkcs11'),
  /** The folder in which `./alcove setup` built pkcs11js; it says where. */
  addon: absolutePath,
  /** The vendor's library. It is loaded into this process. */
  library: absolutePath,
  token: z.string().min(1).max(32),
  keyLabel: z.string().min(1).max(128),
  /** A file with the user's PIN that only its owner may read. */
  pinFile: absolutePath,
});
const awsBase = {
  kind: z.literal('aws_kms'),
  keyArn: kmsKeyArn,
  /** Keys of the same region that wrapped before: they still unwrap, until everything was wrapped again and they are taken off. */
  formerKeyArns: z.array(kmsKeyArn).max(8).default([]),
};
const oneRegion = ({ keyArn, formerKeyArns }: { keyArn: string; formerKeyArns: string[] }): boolean => formerKeyArns.every((arn) => arn.split(':')[3] === keyArn.split(':')[3]);
const oneRegionOnly = { message: 'all keys must be of one region', path: ['formerKeyArns'] };
const vaultBase = { kind: z.literal('vault_transit'), mount: pathWords.default('transit'), key: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/), namespace: pathWords.optional() };

/**
 * Which provider holds a key and how to reach it, as an operator says it. Parsing turns credentials into `Secret`s, so keep what was given (sealed), not what was
 * parsed. `credentialsFile`: JSON of accessKeyId, secretAccessKey, sessionToken; `tokenFile`: the bare token; both 0600 and read again when they change.
 */
export const KeyProviderSettings = z.discriminatedUnion('kind', [
  file,
  pkcs11,
  z.strictObject({ ...awsBase, credentials: z.union([AwsCredentials, z.strictObject({ credentialsFile: absolutePath })]), endpoint: httpUrl.optional() }).refine(oneRegion, oneRegionOnly),
  z.strictObject({ ...vaultBase, url: httpUrl, credentials: z.union([z.strictObject({ token: secretText }), z.strictObject({ tokenFile: absolutePath })]) }),
]);
export type KeyProviderSettings = z.infer<typeof KeyProviderSettings>;

/** What a tenant may say of its own provider: nothing that reads this machine's files or loads code, HTTPS only. Open it with `openTenantProvider`. */
export const TenantKeyProviderSettings = z.discriminatedUnion('kind', [
  z.strictObject({ ...awsBase, credentials: AwsCredentials }).refine(oneRegion, oneRegionOnly),
  z.strictObject({ ...vaultBase, url: httpsUrl, credentials: z.strictObject({ token: secretText }) }),
]);
export type TenantKeyProviderSettings = z.infer<typeof TenantKeyProviderSettings>;
