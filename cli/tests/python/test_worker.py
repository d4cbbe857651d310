import json
import unittest

from cloudflare import Cloudflare, InternalServerError

from emulator import Emulator
from worker import handle_orders


class WorkerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.emulator = Emulator("--queue", "orders,max_retries=1,dead_letter_queue=failed")
        cls.addClassCleanup(cls.emulator.stop)
        cls.client = Cloudflare(base_url=cls.emulator.base_url, api_token=cls.emulator.api_token)
        cls.addClassCleanup(cls.client.close)
        cls.account_id, cls.orders = cls.emulator.account_id, cls.emulator.queues["orders"]

    def setUp(self):
        self.emulator.reset()

    def push(self, body):
        self.client.queues.messages.push(self.orders, account_id=self.account_id, body=body, content_type="json")

    def handle(self, handle):
        return handle_orders(self.client, self.account_id, self.orders, handle)

    def bodies(self, queue):
        return [json.loads(message["body"]) for message in self.emulator.messages(queue)]

    def fails(self, order):
        raise ValueError("sold out")

    def test_an_order_that_is_handled_leaves_the_queue(self):
        self.push({"id": 1})
        handled = []
        self.assertEqual(self.handle(handled.append), (1, 0))
        self.assertEqual(handled, [{"id": 1}])
        self.assertEqual(self.bodies("orders"), [])

    def test_an_order_that_fails_comes_again_after_a_minute_and_is_a_dead_letter_in_the_end(self):
        self.push({"id": 2})
        self.assertEqual(self.handle(self.fails), (0, 1))
        self.emulator.advance(59)
        self.assertEqual(self.handle(self.fails), (0, 0))
        self.emulator.advance(1)
        self.assertEqual(self.handle(self.fails), (0, 1))
        self.assertEqual(self.bodies("failed"), [{"id": 2}])

    def test_an_order_is_kept_when_its_acknowledgement_does_not_arrive(self):
        self.push({"id": 3})
        # The client tries three times.
        self.emulator.inject(fault="server_error", status=503, operations=["ack_messages"], times=3)
        with self.assertRaises(InternalServerError):
            self.handle(lambda order: None)
        self.assertEqual(self.emulator.messages("orders")[0]["state"], "leased")
        self.emulator.advance(30)
        self.assertEqual(self.handle(lambda order: None), (1, 0))


if __name__ == "__main__":
    unittest.main()
