"""An emulator of Cloudflare Queues for tests."""

import json
import os
import subprocess
import sysconfig
import urllib.error
import urllib.parse
import urllib.request

__all__ = ["Emulator", "EmulatorError", "program"]


class EmulatorError(Exception):
    """The emulator did not start, or refused a request."""


def program():
    """Where the program `cf-queues` is: $CF_QUEUES, or where this package installed it."""
    if named := os.environ.get("CF_QUEUES"):
        return named
    name = "cf-queues.exe" if os.name == "nt" else "cf-queues"
    installed = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [
        sysconfig.get_path("scripts"),
        # pip install --user
        sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")),
        # pip install --target
        os.path.join(installed, "bin"),
    ]
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise EmulatorError(f"{name} is in none of {', '.join(folders)}; set CF_QUEUES to a program to use")


class Emulator:
    """An emulator on a free port, which is ready once this returns.

    `queues` are as for `cf-queues emulator --queue`: "orders,max_retries=1". Unless `frozen` is false, the clock stands
    still until `advance`. `args` are more arguments of `cf-queues emulator`.
    """

    def __init__(self, *queues, frozen=True, args=()):
        # Its standard input ends with this process, however that ends.
        command = [program(), "emulator", "--port", "0", "--output", "ndjson", "--exit-with-stdin"]
        command += ["--frozen"] if frozen else []
        command += [part for queue in queues for part in ("--queue", queue)]
        self._process = subprocess.Popen([*command, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._process.stdout.readline()
        if not line:
            raise EmulatorError(f"cf-queues emulator ended with {self._process.wait()}")
        announced = json.loads(line)
        #: The page to watch.
        self.url = announced["url"]
        self.base_url = announced["base_url"]
        self.api_token = announced["api_token"]
        self.account_id = announced["account_id"]
        #: The id of each queue, by its name.
        self.queues = announced["queues"]

    def messages(self, queue):
        """The messages of a queue, by its name or id, without leasing them."""
        return self._control("GET", f"/queues/{urllib.parse.quote(queue, safe='')}/messages")

    def seed(self, queue, *messages):
        """Puts messages into a queue as a Worker would send them: `seed("orders", {"body": "AP8=", "content_type":
        "bytes", "attempts": 2, "age": 60, "delay": 5, "times": 100})`. Everything but the body can be left out."""
        self._control("POST", f"/queues/{urllib.parse.quote(queue, safe='')}/messages", {"messages": messages})

    def advance(self, seconds):
        """Moves the clock."""
        self._control("POST", "/advance", {"seconds": seconds})

    def fault(self, fault, **fields):
        """Makes requests fail: `fault("server_error", status=503, operations=["ack_messages"], times=3)`."""
        self._control("POST", "/faults", {"fault": fault, **fields})

    def reset(self):
        """Removes all messages and faults."""
        self._control("POST", "/reset")

    def stop(self):
        """Ends it, and waits until it has ended."""
        self._process.terminate()
        self._process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_emulator{path}", data, method=method)
        # Not by a proxy that the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as response:
                return json.load(response)["result"]
        except urllib.error.HTTPError as error:
            raise EmulatorError(json.load(error)["errors"][0]["message"]) from None
