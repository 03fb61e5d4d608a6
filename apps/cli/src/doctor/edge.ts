import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { systemClock } from '@alcove/base';
import type { Context } from '../context';
import { publicName, tlsFiles } from '../setup/certificates';
import { judgeEdge, type Finding } from './findings';

/** What stands between E2B's clients and the edge: the certificate that they see, and whether the names of rooms lead anywhere. */
export async function edgeFinding(context: Context): Promise<Finding> {
  const { name } = context.config.e2bDomain;
  const text = await readFile(tlsFiles(context.paths.tls, publicName).cert).catch(() => null);
  const certificate = text && new X509Certificate(text);
  const found = certificate && { covers: [name, `any.${name}`].every((host) => certificate.checkHost(host) !== undefined), validForMs: Date.parse(certificate.validTo) - systemClock.now() };
  const address = await lookup(`any.${name}`).then(({ address: found }) => found, () => null);
  return judgeEdge(name, found, address);
}
