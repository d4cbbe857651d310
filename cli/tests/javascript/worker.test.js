import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { startEmulator } from 'cf-queues';
import Cloudflare from 'cloudflare';
import { handleOrders } from './worker.js';

let emulator, client, account_id, orders;

before(async () => {
  emulator = await startEmulator({ queues: ['orders,max_retries=1,dead_letter_queue=failed'] });
  client = new Cloudflare(emulator);
  account_id = emulator.accountId;
  orders = emulator.queues.orders;
});
beforeEach(() => emulator.reset());
after(() => emulator?.stop());

const push = (body) => client.queues.messages.push(orders, { account_id, body, content_type: 'json' });
const bodies = async (queue) => (await emulator.messages(queue)).map((message) => JSON.parse(message.body));
const fail = () => Promise.reject(new Error('sold out'));

test('an order that is handled leaves the queue', async () => {
  await push({ id: 1 });
  const handled = [];
  const outcome = await handleOrders(client, account_id, orders, (order) => handled.push(order));
  assert.deepEqual(outcome, { acked: 1, retried: 0 });
  assert.deepEqual(handled, [{ id: 1 }]);
  assert.deepEqual(await bodies('orders'), []);
});

test('an order that fails comes again after a minute, and is a dead letter in the end', async () => {
  await push({ id: 2 });
  assert.deepEqual(await handleOrders(client, account_id, orders, fail), { acked: 0, retried: 1 });
  await emulator.advance(59);
  assert.deepEqual(await handleOrders(client, account_id, orders, fail), { acked: 0, retried: 0 });
  await emulator.advance(1);
  assert.deepEqual(await handleOrders(client, account_id, orders, fail), { acked: 0, retried: 1 });
  assert.deepEqual(await bodies('failed'), [{ id: 2 }]);
});

test('an order that a Worker sent is handled, and the last delivery makes it a dead letter', async () => {
  await emulator.seed('orders', { body: { id: 4 }, attempts: 1, times: 2 }, { body: '"text"', content_type: 'text' });
  assert.deepEqual(await handleOrders(client, account_id, orders, fail), { acked: 0, retried: 3 });
  assert.deepEqual(await bodies('failed'), [{ id: 4 }, { id: 4 }]);
  assert.deepEqual(await bodies('orders'), ['text']);
});

test('an order is kept when its acknowledgement does not arrive', async () => {
  await push({ id: 3 });
  // The client tries three times.
  await emulator.fault({ fault: 'server_error', status: 503, operations: ['ack_messages'], times: 3 });
  await assert.rejects(handleOrders(client, account_id, orders, () => {}), { status: 503 });
  assert.equal((await emulator.messages('orders'))[0].state, 'leased');
  await emulator.advance(30);
  assert.deepEqual(await handleOrders(client, account_id, orders, () => {}), { acked: 1, retried: 0 });
});
