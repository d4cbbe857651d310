import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import alchemy from 'alchemy';
import { Queue, QueueConsumer } from 'alchemy/cloudflare';

const { CLOUDFLARE_BASE_URL: url, CLOUDFLARE_API_TOKEN: token, CLOUDFLARE_ACCOUNT_ID: account } = process.env;

async function queues() {
  const response = await fetch(`${url}/accounts/${account}/queues`, { headers: { authorization: `Bearer ${token}` } });
  return (await response.json()).result;
}

async function run(phase, settings) {
  const app = await alchemy('shop', { phase, stage: 'test', quiet: true, password: 'secret' });
  if (phase === 'destroy') return;
  await Queue('orders', { name: 'orders', settings });
  await app.finalize();
}

test('alchemy creates, changes and deletes a queue', async ({ mock }) => {
  // After a removal, it ends the program.
  mock.method(process, 'exit', () => {});
  process.chdir(mkdtempSync(`${tmpdir()}/alchemy-`));
  const find = async () => (await queues()).find(({ queue_name: name }) => name === 'orders');
  await run('up', { deliveryDelay: 5 });
  assert.equal((await find()).settings.delivery_delay, 5);
  await run('up', { deliveryDelay: 7 });
  assert.equal((await find()).settings.delivery_delay, 7);
  await run('destroy');
  assert.equal(await find(), undefined);
});
