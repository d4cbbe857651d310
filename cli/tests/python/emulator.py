import json
import os
import subprocess
import urllib.request


class Emulator:
    """An emulator on a free port, whose clock stands still. CF_QUEUES is where the program is, if not on the path."""

    def __init__(self, *options):
        program = os.environ.get("CF_QUEUES", "cf-queues")
        command = [program, "emulator", "--port", "0", "--frozen", "--output", "ndjson", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        announced = self.process.stdout.readline()
        if not announced:
            raise RuntimeError(f"{program} ended with {self.process.wait()}")
        # url, base_url, api_token, account_id, queues
        vars(self).update(json.loads(announced))

    def control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_emulator{path}", data, method=method)
        with urllib.request.urlopen(request) as response:
            return json.load(response)["result"]

    def messages(self, queue):
        return self.control("GET", f"/queues/{queue}/messages")

    def advance(self, seconds):
        self.control("POST", "/advance", {"seconds": seconds})

    def inject(self, **fault):
        self.control("POST", "/faults", fault)

    def reset(self):
        self.control("POST", "/reset")

    def stop(self):
        self.process.terminate()
        self.process.communicate()
