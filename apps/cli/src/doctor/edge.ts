import { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { systemClock } from '@alcove/base';
import type { Context } from '../context';
import { publicCertificate } from '../setup/certificates';
import { judgeEdge, type EdgeFacts, type Finding } from './findings';

/** What stands between E2B's clients and the edge: the certificate that they see, and whether the names of rooms lead anywhere. */
export async function edgeFinding({ config, paths }: Context): Promise<Finding> {
  const domain = config.e2bDomain.name;
  const certificate = await certificateIn(publicCertificate(config.edge, paths.tls).cert, [domain, `any.${domain}`]);
  const address = await lookup(`any.${domain}`).then(({ address: found }) => found, () => null);
  return judgeEdge({ domain, own: config.edge.certificate !== null, certificate, address });
}

async function certificateIn(path: string, names: string[]): Promise<EdgeFacts['certificate']> {
  try {
    const certificate = new X509Certificate(await readFile(path));
    return { covers: names.every((name) => certificate.checkHost(name) !== undefined), validForMs: Date.parse(certificate.validTo) - systemClock.now() };
  } catch {
    return null;
  }
}
