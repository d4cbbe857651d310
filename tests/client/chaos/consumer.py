"""Consumes a queue with Cloudflare's own client until it stays empty, and prints what was acknowledged."""

import json
import sys
import time

import cloudflare

base_url, api_token, account_id, queue_id = sys.argv[1:]
client = cloudflare.Cloudflare(base_url=base_url, api_token=api_token)
# A page of a proxy under status 200 is an attribute error of this client.
FAILURES = (cloudflare.APIError, AttributeError)
empty = 0
while empty < 20:
    try:
        pulled = client.queues.messages.pull(queue_id, account_id=account_id, batch_size=10, visibility_timeout_ms=2000)
    except FAILURES:
        continue
    # A response that does not say success is an empty one to this client.
    messages = getattr(pulled, "messages", None) or []
    if not messages:
        empty += 1
        time.sleep(0.05)
        continue
    empty = 0
    asked, acks = [message.body for message in messages], [{"lease_id": message.lease_id} for message in messages]
    try:
        outcome = client.queues.messages.ack(queue_id, account_id=account_id, acks=acks)
        is_confirmed = getattr(outcome, "ack_count", None) == len(acks) and not outcome.warnings
    except FAILURES:
        is_confirmed = False
    print(json.dumps({"asked": asked, "is_confirmed": is_confirmed}), flush=True)
