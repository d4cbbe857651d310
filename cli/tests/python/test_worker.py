import json

import pytest
from cloudflare import Cloudflare, InternalServerError

from worker import handle_orders


@pytest.fixture
def client(cf_queues):
    with Cloudflare(base_url=cf_queues.base_url, api_token=cf_queues.api_token) as client:
        yield client


@pytest.fixture
def handle(cf_queues, client):
    def handle(order):
        return handle_orders(client, cf_queues.account_id, cf_queues.queues["orders"], order)

    return handle


def push(cf_queues, client, body):
    arguments = {"account_id": cf_queues.account_id, "body": body, "content_type": "json"}
    client.queues.messages.push(cf_queues.queues["orders"], **arguments)


def bodies(cf_queues, queue):
    return [json.loads(message["body"]) for message in cf_queues.messages(queue)]


def fails(order):
    raise ValueError("sold out")


def test_an_order_that_is_handled_leaves_the_queue(cf_queues, client, handle):
    push(cf_queues, client, {"id": 1})
    handled = []
    assert handle(handled.append) == (1, 0)
    assert handled == [{"id": 1}]
    assert bodies(cf_queues, "orders") == []


def test_an_order_that_fails_comes_again_after_a_minute_and_is_a_dead_letter_in_the_end(cf_queues, client, handle):
    push(cf_queues, client, {"id": 2})
    assert handle(fails) == (0, 1)
    cf_queues.advance(59)
    assert handle(fails) == (0, 0)
    cf_queues.advance(1)
    assert handle(fails) == (0, 1)
    assert bodies(cf_queues, "failed") == [{"id": 2}]


def test_an_order_that_a_worker_sent_is_handled_and_the_last_delivery_makes_it_a_dead_letter(cf_queues, handle):
    orders = {"body": {"id": 4}, "attempts": 1, "times": 2}, {"body": '"text"', "content_type": "text"}
    cf_queues.seed("orders", *orders)
    assert handle(fails) == (0, 3)
    assert bodies(cf_queues, "failed") == [{"id": 4}, {"id": 4}]
    assert bodies(cf_queues, "orders") == ["text"]


def test_an_order_is_kept_when_its_acknowledgement_does_not_arrive(cf_queues, client, handle):
    push(cf_queues, client, {"id": 3})
    # The client tries three times.
    cf_queues.fault("server_error", status=503, operations=["ack_messages"], times=3)
    with pytest.raises(InternalServerError):
        handle(lambda order: None)
    assert cf_queues.messages("orders")[0]["state"] == "leased"
    cf_queues.advance(30)
    assert handle(lambda order: None) == (1, 0)
