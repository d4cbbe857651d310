// Workers in vitest, without wrangler: a test drives both directions.
import { createExecutionContext, createMessageBatch, env, getQueueResult, SELF } from 'cloudflare:test';
import { expect, test, vi } from 'vitest';
import { Queue } from './client.js';
import consumer from './consumer/index.js';

test('a program pulls what a Worker sends', async () => {
  const queue = new Queue(env.EMULATOR, 'jobs');
  expect((await SELF.fetch('http://producer/json')).status).toBe(200);
  const [{ body, lease_id }] = await vi.waitFor(async () => {
    const messages = await queue.pull();
    expect(messages).not.toEqual([]);
    return messages;
  }, 10_000);
  expect(JSON.parse(body)).toEqual({ hello: 'wörld' });
  expect(await queue.ack([{ lease_id }])).toMatchObject({ ackCount: 1 });
});

test('the handler of a Worker gets what is pushed, and the emulator does what it says', async () => {
  const queue = new Queue(env.EMULATOR, 'orders');
  await queue.push({ id: 1 });
  await queue.push({ retry: 1 });
  const handle = async (messages) => {
    const [batch, context] = [createMessageBatch('orders', messages), createExecutionContext()];
    await consumer.queue(batch, env, context);
    const { retryMessages } = await getQueueResult(batch, context);
    return new Map(retryMessages.map(({ msgId, delaySeconds }) => [msgId, delaySeconds]));
  };
  expect(await queue.deliver(handle)).toMatchObject({ ackCount: 1, retryCount: 1 });
  expect(await queue.deliver(handle)).toMatchObject({ ackCount: 1, retryCount: 0 });
});
