/** E2B_DOMAIN=… E2B_API_KEY=… node app.mjs: that is all that an application has to be told. */
import { runApp } from './clients';
import { Tenancy } from './sdk';

jest.setTimeout(180_000);

it('an application runs unchanged with the published SDK', async () => {
  const mine = await Tenancy.open('qemu');
  expect(await runApp(mine)).toEqual({ version: '2.51.0', said: 'hello from Linux\n', note: 'a note', listed: true, killed: true, running: false });
});
