import { AwsV4Signer } from 'aws4fetch';
import { systemClock } from '@alcove/base';
import { KeyProviderSettings, openProvider, type KeyProvider } from '@alcove/vault';
import { describeKeyProvider, type KeyProviderBench } from '../../libs/testing/src/key-provider-contract';
import { KmsEmulator } from '../../libs/testing/src/kms-emulator';
import { environment } from '../test.config';

interface Server {
  endpoint: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
}

async function call(server: Server, operation: string, body: unknown): Promise<{ KeyMetadata: { Arn: string } }> {
  const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `TrentService.${operation}` };
  const signed = await new AwsV4Signer({ method: 'POST', url: server.endpoint, headers, body: JSON.stringify(body), ...server.credentials, service: 'kms', region: server.region }).sign();
  const answer = await fetch(signed.url, { method: 'POST', headers: signed.headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${operation}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as { KeyMetadata: { Arn: string } };
}

async function newKey(server: Server): Promise<string> {
  return (await call(server, 'CreateKey', { Description: 'alcove conformance test' })).KeyMetadata.Arn;
}

function open({ endpoint, credentials }: Server, keyArn: string, formerKeyArns: string[] = []): Promise<KeyProvider> {
  return openProvider(KeyProviderSettings.parse({ kind: 'aws_kms', keyArn, formerKeyArns, credentials, endpoint }), { clock: systemClock });
}

async function bench(): Promise<KeyProviderBench> {
  const emulator = environment.aws ? null : await KmsEmulator.start(() => systemClock.now());
  const server: Server = environment.aws
    ? {
        endpoint: environment.aws.endpoint ?? `https://kms.${environment.aws.region}.amazonaws.com/`,
        region: environment.aws.region,
        credentials: { accessKeyId: environment.aws.accessKeyId, secretAccessKey: environment.aws.secretAccessKey, ...(environment.aws.sessionToken && { sessionToken: environment.aws.sessionToken }) },
      }
    : { endpoint: `${emulator?.http.url}/`, region: emulator?.region ?? '', credentials: emulator?.user ?? { accessKeyId: '', secretAccessKey: '' } };
  const [first, other, second] = [await newKey(server), await newKey(server), await newKey(server)];
  const disable = (key: string): Promise<unknown> => call(server, 'DisableKey', { KeyId: key });
  const provider = await open(server, first);
  return {
    provider,
    another: await open(server, other),
    rotate: () => open(server, second, [first]),
    shutOld: async () => {
      await disable(first);
      return open(server, second, [first]);
    },
    revoke: async () => {
      await disable(first);
      return provider;
    },
    askNobody: async () => (await open({ ...server, endpoint: 'http://127.0.0.1:1/' }, first)).describe(),
    close: async () => {
      for (const key of environment.aws ? [first, other, second] : []) await disable(key).catch(() => undefined);
      await emulator?.http.close();
    },
  };
}

describeKeyProvider('aws_kms', bench, { thorough: environment.aws === null });
