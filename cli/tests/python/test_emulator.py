import subprocess
import sys
import urllib.error
import urllib.request

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


def test_an_emulator_ends_with_the_process_that_started_it():
    script = "import os, cf_queues; print(cf_queues.Emulator().url, flush=True); os.kill(os.getpid(), 9)"
    url = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip()
    with pytest.raises(urllib.error.URLError):
        while urllib.request.urlopen(f"{url}/health"):
            pass
