import os
import pathlib
import subprocess
import sys
import time

from cf_queues import Emulator

MESSAGES = 3000
WORKER = pathlib.Path(__file__).with_name("worker_onestep.py")


def test_onestep_handles_each_message_although_it_is_killed_twice():
    with Emulator("orders,max_retries=100", frozen=False) as emulator:
        emulator.seed("orders", *({"body": {"n": number}} for number in range(MESSAGES)))
        environment = os.environ | {
            "CLOUDFLARE_BASE_URL": emulator.base_url,
            "CLOUDFLARE_API_TOKEN": emulator.api_token,
            "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
            "CLOUDFLARE_QUEUE_ID": emulator.queues["orders"],
        }
        handled, end = set(), time.monotonic() + 120
        for so_many in [500, 1500, MESSAGES]:
            worker = subprocess.Popen([sys.executable, WORKER], env=environment, stdout=subprocess.PIPE, text=True)
            while len(handled) < so_many:
                assert time.monotonic() < end, len(handled)
                handled.add(int(worker.stdout.readline()))
            while so_many == MESSAGES and emulator.messages("orders"):
                assert time.monotonic() < end, emulator.messages("orders")
                time.sleep(0.05)
            worker.kill()
            worker.wait()
        assert handled == set(range(MESSAGES))
