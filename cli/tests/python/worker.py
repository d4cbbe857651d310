"""The code under test: handles the orders that wait, and hands back those that fail."""

import json


def handle_orders(client, account_id, queue_id, handle):
    """Returns how many orders were acknowledged, and how many are to be retried."""
    messages = client.queues.messages.pull(queue_id, account_id=account_id, batch_size=10).messages or []
    acks, retries = [], []
    for message in messages:
        try:
            handle(json.loads(message.body))
            acks.append({"lease_id": message.lease_id})
        except Exception:
            retries.append({"lease_id": message.lease_id, "delay_seconds": 60})
    if not messages:
        return 0, 0
    outcome = client.queues.messages.ack(queue_id, account_id=account_id, acks=acks, retries=retries)
    return outcome.ack_count, outcome.retry_count
