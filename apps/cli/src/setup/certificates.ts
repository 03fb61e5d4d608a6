import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { systemClock } from '@alcove/base';
import type { EdgeOptions } from '../cli.config';
import { runProgram } from '../run-program';

/**
 * The development certificate authority and the certificates of this machine's processes, made with the openssl program: P-256 keys, TLS server and client in one
 * certificate, because both ends of every connection between control plane and host show one. The common name is the identity: `control-plane` or a host's id.
 */
export interface TlsFiles {
  ca: string;
  cert: string;
  key: string;
}

const authorityDays = 3650;
const leafDays = 825;
const renewBeforeMs = 30 * 24 * 3600_000;

export function tlsFiles(folder: string, name: string): TlsFiles {
  return { ca: join(folder, 'ca.crt'), cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
}

/** What the edge shows to clients: a certificate for the domain and for every name right below it. Under the same authority, which they have to be told to trust. */
const publicName = 'public';

/** The certificate that clients of the edge see, and the authority that they must be told to trust: null where it is the user's own certificate. */
export function publicCertificate(edge: EdgeOptions, tlsFolder: string): { cert: string; key: string; authority: string | null } {
  if (edge.certificate) return { ...edge.certificate, authority: null };
  const { ca, cert, key } = tlsFiles(tlsFolder, publicName);
  return { cert, key, authority: ca };
}

/** Makes what is missing, damaged, signed by another authority, for another domain or close to its end. Returns the names that were made. */
export async function ensureCertificates(folder: string, names: string[], domain?: string): Promise<string[]> {
  const made: string[] = [];
  const authority = { cert: join(folder, 'ca.crt'), key: join(folder, 'ca.key') };
  if (!(await usable(authority.cert, null))) {
    await makeAuthority(folder);
    made.push('ca');
  }
  const issuer = new X509Certificate(await readFile(authority.cert));
  for (const name of names) {
    if (await usable(tlsFiles(folder, name).cert, issuer)) continue;
    await makeLeaf(folder, name, { commonName: name, names: `DNS:${name},DNS:localhost,IP:127.0.0.1,IP:::1`, usage: 'serverAuth,clientAuth' });
    made.push(name);
  }
  if (domain !== undefined && !(await usable(tlsFiles(folder, publicName).cert, issuer, [domain, `any.${domain}`]))) {
    // Never good as a client's: whoever holds it is nobody between our processes.
    await makeLeaf(folder, publicName, { commonName: domain, names: `DNS:${domain},DNS:*.${domain}`, usage: 'serverAuth' });
    made.push(publicName);
  }
  return made;
}

async function usable(path: string, issuer: X509Certificate | null, hosts: string[] = []): Promise<boolean> {
  try {
    const certificate = new X509Certificate(await readFile(path));
    const lasts = Date.parse(certificate.validTo) - systemClock.now() > renewBeforeMs;
    return lasts && (issuer === null || certificate.verify(issuer.publicKey)) && hosts.every((host) => certificate.checkHost(host) !== undefined);
  } catch {
    return false;
  }
}

async function makeAuthority(folder: string): Promise<void> {
  await inScratch(folder, async (scratch) => {
    const [key, cert] = [join(scratch, 'ca.key'), join(scratch, 'ca.crt')];
    await openssl(['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', String(authorityDays), '-subj', '/CN=Alcove development CA', '-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0', '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout', key, '-out', cert]);
    await rename(key, join(folder, 'ca.key'));
    await rename(cert, join(folder, 'ca.crt'));
  });
}

interface LeafSubject {
  commonName: string;
  /** As subjectAltName has it. */
  names: string;
  usage: string;
}

async function makeLeaf(folder: string, name: string, subject: LeafSubject): Promise<void> {
  await inScratch(folder, async (scratch) => {
    const [key, request, cert, extensions] = ['leaf.key', 'leaf.csr', 'leaf.crt', 'leaf.ext'].map((file) => join(scratch, file)) as [string, string, string, string];
    const lines = ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature', `extendedKeyUsage=${subject.usage}`, `subjectAltName=${subject.names}`];
    await writeFile(extensions, `${lines.join('\n')}\n`);
    await openssl(['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${subject.commonName}`, '-keyout', key, '-out', request]);
    await openssl(['x509', '-req', '-in', request, '-CA', join(folder, 'ca.crt'), '-CAkey', join(folder, 'ca.key'), '-CAcreateserial', '-CAserial', join(scratch, 'serial'), '-days', String(leafDays), '-extfile', extensions, '-out', cert]);
    await rename(key, join(folder, `${name}.key`));
    await rename(cert, join(folder, `${name}.crt`));
  });
}

async function openssl(args: string[]): Promise<void> {
  await runProgram('openssl', args);
}

/** Half-made files live in a folder of mode 0700 that is always removed. */
async function inScratch(folder: string, work: (scratch: string) => Promise<void>): Promise<void> {
  const scratch = await mkdtemp(join(folder, '.new-'));
  try {
    await work(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
