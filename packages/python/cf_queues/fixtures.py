"""The fixture `cf_queues`, which pytest finds by itself."""

import pytest

from cf_queues import Emulator


def pytest_addoption(parser):
    parser.addini("cf_queues", "queues of the emulator, each as for `cf-queues emulator --queue`", "linelist", [])


@pytest.fixture(scope="session")
def cf_queues_session(request):
    """The emulator that all tests share."""
    with Emulator(*request.config.getini("cf_queues")) as emulator:
        yield emulator


@pytest.fixture
def cf_queues(cf_queues_session):
    """An emulator without messages and faults, whose clock stands still."""
    cf_queues_session.reset()
    return cf_queues_session
