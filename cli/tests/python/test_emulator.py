import subprocess

import pytest
from cf_queues import Emulator, EmulatorError, program


def test_the_program_runs():
    assert subprocess.run([program(), "--version"], check=True, capture_output=True).stdout.startswith(b"cf-queues ")


def test_an_emulator_that_does_not_start_is_an_error():
    with pytest.raises(EmulatorError, match="ended with 2"):
        Emulator(args=["--no-such-option"])


def test_a_refused_request_says_why(cf_queues):
    with pytest.raises(EmulatorError, match="server_error"):
        cf_queues.fault("no_such_fault")
