import asyncio

import pytest
from cf_queues import Emulator
from cfq import CFQ

MESSAGES = 1000


def consume(emulator, until):
    """Runs a consumer until that is so, and returns how many messages were handled."""
    handled = []

    async def run():
        client = CFQ(emulator.api_token, emulator.account_id, polling_interval_ms=10, max_batch_size=100)

        @client.consumer(emulator.queues["orders"])
        async def handle(message):
            handled.append(message.id)

        running = asyncio.create_task(client.start())
        while not until(handled):
            await asyncio.sleep(0.05)
        # It sends what was not acknowledged once more.
        await client.stop()
        await running

    asyncio.run(asyncio.wait_for(run(), 60))
    return len(handled)


@pytest.mark.parametrize("large", [False, True])
def test_cfq_acknowledges_all_or_nothing_by_whether_a_request_may_have_more_than_100(monkeypatch, large):
    with Emulator("orders", args=["--behavior", f"large_requests={str(large).lower()}"]) as emulator:
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", emulator.base_url)
        emulator.seed("orders", {"body": "x", "content_type": "text", "times": MESSAGES})
        assert consume(emulator, lambda handled: len(handled) == MESSAGES) == MESSAGES
        assert len(emulator.messages("orders")) == (0 if large else 100)
