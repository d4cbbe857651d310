// Workers in miniflare, without wrangler: a test drives both directions.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { startEmulator } from 'cf-queues';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { Queue } from './client.js';

let emulator, miniflare;

before(async () => {
  emulator = await startEmulator({ queues: ['jobs', 'orders,max_retries=1,dead_letter_queue=orders-dead'] });
  const worker = (name, path, options) => {
    const script = readFileSync(path, 'utf8');
    return { name, script, modules: true, compatibilityDate: '2026-11-01', ...options };
  };
  const workers = [
    worker('producer', 'producer/index.js', { queueProducers: { JOBS: { queueName: 'jobs' } } }),
    worker('forward', 'forward.js', {
      queueConsumers: { jobs: { maxBatchTimeout: 0, maxRetries: 100 } },
      bindings: { EMULATOR: emulator.url },
    }),
    worker('consumer', 'consumer/index.js'),
  ];
  miniflare = new Miniflare(convertV4MiniflareOptions({ workers }));
});
after(async () => {
  await miniflare?.dispose();
  await emulator?.stop();
});

test('a program pulls what a Worker sends', async () => {
  const queue = new Queue(emulator, 'jobs');
  for (const [path, type, body] of [
    ['json', 'json', '{"hello":"wörld"}'],
    ['text', 'text', 'plain words'],
    ['bytes', 'bytes', 'AAEC//4='],
  ]) {
    assert.equal((await miniflare.dispatchFetch(`http://producer/${path}`)).status, 200);
    let messages = [];
    while (messages.length === 0) messages = await queue.pull();
    assert.deepEqual([messages[0].metadata['CF-Content-Type'], messages[0].body], [type, body]);
    await queue.ack(messages.map(({ lease_id }) => ({ lease_id })));
  }
});

test('the handler of a Worker gets what is pushed, and the emulator does what it says', async () => {
  const queue = new Queue(emulator, 'orders');
  await queue.push({ id: 1 });
  await queue.push({ fail: 1 });
  const consumer = await miniflare.getWorker('consumer');
  const handle = async (messages) => {
    const { outcome, retryBatch, retryMessages } = await consumer.queue('orders', messages);
    const isAll = outcome !== 'ok' || retryBatch.retry;
    const retries = isAll ? messages.map(({ id }) => ({ msgId: id, ...retryBatch })) : retryMessages;
    return new Map(retries.map(({ msgId, delaySeconds }) => [msgId, delaySeconds]));
  };
  const settled = ({ ackCount, retryCount }) => [ackCount, retryCount];
  assert.deepEqual(settled(await queue.deliver(handle)), [1, 1]);
  assert.deepEqual(settled(await queue.deliver(handle)), [0, 1]);
  const [{ body }] = await emulator.messages('orders-dead');
  assert.equal(body, '{"fail":1}');
});
