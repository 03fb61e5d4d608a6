import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Identity {
  ca: string;
  cert: string;
  key: string;
}

/** A throw-away certificate authority in a folder, and certificates of it by common name; each is good for 127.0.0.1 and localhost as server and as client. */
export class TestAuthority {
  constructor(private readonly folder: string) {
    mkdirSync(folder, { recursive: true });
    this.#openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=test authority', '-keyout', 'ca.key', '-out', 'ca.crt');
  }
  issue(commonName: string): Identity {
    writeFileSync(join(this.folder, `${commonName}.ext`), 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n');
    this.#openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${commonName}`, '-keyout', `${commonName}.key`, '-out', `${commonName}.csr`);
    this.#openssl('x509', '-req', '-in', `${commonName}.csr`, '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${commonName}.ext`, '-out', `${commonName}.crt`);
    const file = (name: string) => join(this.folder, name);
    return { ca: file('ca.crt'), cert: file(`${commonName}.crt`), key: file(`${commonName}.key`) };
  }
  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'ignore' });
  }
}

export function readIdentity(identity: Identity): { ca: Buffer; cert: Buffer; key: Buffer } {
  return { ca: readFileSync(identity.ca), cert: readFileSync(identity.cert), key: readFileSync(identity.key) };
}
