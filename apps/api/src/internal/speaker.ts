import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';

/** The common name in the certificate that the caller has shown. */
export function commonName(request: FastifyRequest): string | undefined {
  const name = (request.raw.socket as TLSSocket).getPeerCertificate().subject?.CN;
  return typeof name === 'string' ? name : undefined;
}
