import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A user namespace of its own, which an ordinary user may make, and in it no network and no System V objects of the host. */
const namespaces = ['unshare', '--user', '--net', '--ipc', '--'];

const tried = new Map<number | null, Promise<boolean>>();

/**
 * The words to put in front of a VMM's command line so that a VMM that a guest has taken over has no network to reach. None where the machine does not allow it: some
 * refuse user namespaces to ordinary users. Found out once by trying.
 */
export async function confinementOf(uid: number | null): Promise<string[]> {
  return (await canConfine(uid)) ? namespaces : [];
}

/** True when this machine lets VMs of this user have namespaces of their own. */
export function canConfine(uid: number | null): Promise<boolean> {
  // All users but root are alike here.
  const kind = uid === null ? null : 0;
  let answer = tried.get(kind);
  if (!answer) {
    answer = tryIt(uid);
    tried.set(kind, answer);
  }
  return answer;
}

async function tryIt(uid: number | null): Promise<boolean> {
  const [program = '', ...words] = namespaces;
  const child = spawn(program, [...words, 'true'], { stdio: 'ignore', ...(uid === null ? {} : { uid, gid: uid }) });
  try {
    const [status] = (await once(child, 'exit')) as [number | null];
    return status === 0;
  } catch {
    return false;
  }
}
