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
