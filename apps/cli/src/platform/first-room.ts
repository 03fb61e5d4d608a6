import { ApiClient, ApiProblem } from '../api-client';

const userId = 'you';

/**
 * A room to try things with, for the user `you` of the development tenant: the one that is there, or a new one that is put to sleep as soon as it has started, so that
 * it costs nothing. Returns its id.
 */
export async function firstRoom(url: string, key: string): Promise<string> {
  const client = new ApiClient(url, key);
  for await (const room of client.rooms({ userId })) if (room.wanted !== 'gone') return room.id;
  const made = await client.createRoom({ userId });
  await client.wake(made.id);
  await client.hibernate(made.id).catch((error: unknown) => {
    // Somebody talks to it already: then it may stay awake.
    if (!(error instanceof ApiProblem && error.status === 409)) throw error;
  });
  return made.id;
}
