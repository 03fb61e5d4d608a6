/** Three lines that work when they are pasted, in this order: a room for a user, a word with its agent, a command in it. */
export function curlLines(url: string, key: string): string[] {
  const authorization = `-H 'authorization: Bearer ${key}'`;
  const json = `-H 'content-type: application/json'`;
  const room = `$(curl -fsS '${url}/v1/rooms?userId=ada' ${authorization} | grep -o 'room_[0-9a-f]*' | head -n 1)`;
  return [
    `curl -fsS ${url}/v1/rooms ${authorization} ${json} -d '{"userId":"ada"}'`,
    `curl -fsS "${url}/v1/rooms/${room}/invocations" ${authorization} ${json} -d '{"prompt":"echo hello"}'`,
    `curl -fsSN "${url}/v1/rooms/${room}/exec" ${authorization} ${json} -d '{"command":"uname -a"}'`,
  ];
}
