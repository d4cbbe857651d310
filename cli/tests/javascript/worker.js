// The code under test: handles the orders that wait, and hands back those that fail.
export async function handleOrders(client, account_id, queueId, handle) {
  const { messages = [] } = await client.queues.messages.pull(queueId, { account_id, batch_size: 10 });
  const acks = [];
  const retries = [];
  for (const { lease_id, body } of messages) {
    try {
      await handle(JSON.parse(body));
      acks.push({ lease_id });
    } catch {
      retries.push({ lease_id, delay_seconds: 60 });
    }
  }
  if (messages.length === 0) return { acked: 0, retried: 0 };
  const { ackCount, retryCount } = await client.queues.messages.ack(queueId, { account_id, acks, retries });
  return { acked: ackCount, retried: retryCount };
}
