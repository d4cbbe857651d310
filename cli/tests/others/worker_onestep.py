"""Handles messages until it is killed, and says which."""

import asyncio
import os
import sys

from onestep import OneStepApp
from onestep_cf_queues import CFQueuesConnector

app = OneStepApp("orders")
connector = CFQueuesConnector(account_id=os.environ["CLOUDFLARE_ACCOUNT_ID"], api_token=os.environ["CLOUDFLARE_API_TOKEN"])
orders = connector.queue(os.environ["CLOUDFLARE_QUEUE_ID"], batch_size=100, visibility_timeout_ms=2000, poll_interval_s=0.05)


@app.task(source=orders, concurrency=50)
async def handle(ctx, item):
    await asyncio.sleep(0.01)
    sys.stdout.write(f"{item['n']}\n")
    sys.stdout.flush()


app.run()
