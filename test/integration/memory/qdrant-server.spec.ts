import { describeQdrant, QdrantEmulator } from '@alcove/testing';
import { environment } from '../../test.config';

const emulated = (clustered: boolean) => async () => {
  const emulator = await QdrantEmulator.start({ clustered, apiKey: 'k' });
  return { url: emulator.url, apiKey: 'k', close: () => emulator.close() };
};
describeQdrant('emulator of one node', emulated(false));
describeQdrant('emulator of a cluster', emulated(true));

const { qdrant } = environment;
if (qdrant) describeQdrant('the server at QDRANT_URL', async () => ({ ...qdrant, close: async () => undefined }));
