import { join } from 'node:path';

/** Three lines that work when they are pasted, in any order: which rooms there are, a word with an agent (a sleeping room wakes), a command in its room. */
export function curlLines(url: string, key: string, roomId: string): string[] {
  const authorization = `-H 'authorization: Bearer ${key}'`;
  const json = `-H 'content-type: application/json'`;
  return [
    `curl -fsS ${url}/v1/rooms ${authorization}`,
    `curl -fsS ${url}/v1/rooms/${roomId}/invocations ${authorization} ${json} -d '{"prompt":"Good morning!"}'`,
    `curl -fsSN ${url}/v1/rooms/${roomId}/exec ${authorization} ${json} -d '{"command":"uname -a"}'`,
  ];
}

/**
 * What a program that uses E2B's SDK needs in its environment. With a development certificate (`authority`) also whom to trust, and a line that leads the domain's names to this
 * machine, where no DNS does.
 */
export function e2bLines({ domain, key, authority, root }: { domain: string; key: string; authority: string | null; root: string }): string[] {
  const here = authority === null ? {} : { NODE_EXTRA_CA_CERTS: authority, NODE_OPTIONS: `"--require ${join(root, 'apps/edge/names.cjs')}"` };
  return Object.entries({ E2B_DOMAIN: domain, E2B_API_KEY: key, ...here }).map(([name, value]) => `export ${name}=${value}`);
}
