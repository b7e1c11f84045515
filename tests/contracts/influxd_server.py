"""A real InfluxDB 2 of a test's own: started in a folder, stopped, killed and started again there."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ORG, TOKEN = "tcewatch", "token-of-the-tests"
_START_S = 30.0


class InfluxServer:
    """One influxd on a free port of this machine, with an organisation, a first bucket and an all-access token."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url, self.org, self.bucket, self.token = f"http://127.0.0.1:{self.port}", ORG, "tcewatch", TOKEN
        self._folder = folder
        self._command = [
            str(program), "--bolt-path", str(folder / "i.bolt"), "--sqlite-path", str(folder / "i.sqlite"), "--engine-path", str(folder / "engine"),
            "--http-bind-address", f"127.0.0.1:{self.port}", "--reporting-disabled", "--log-level", "error",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self._post("/api/v2/setup", {
            "username": "tester", "password": "password-of-the-tests", "org": ORG, "bucket": self.bucket, "token": TOKEN, "retentionPeriodSeconds": 0,
        })

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"influxd does not start: {(self._folder / 'log').read_text()[-1000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as an operator would."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(subprocess.Popen.kill)

    def restart(self) -> None:
        """Stop and start it on the same port and folder."""
        self.stop()
        self.start()

    def new_bucket(self, name: str, *, retention_s: int = 0) -> str:
        """Make an empty bucket; returns its name."""
        organisations = self._get(f"/api/v2/orgs?org={ORG}")["orgs"]
        rules = [{"type": "expire", "everySeconds": retention_s}] if retention_s else []
        self._post("/api/v2/buckets", {"orgID": organisations[0]["id"], "name": name, "retentionRules": rules})
        return name

    def _end(self, how: object) -> None:
        if self._process is not None:
            how(self._process)  # type: ignore[operator]
            self._process.wait(timeout=30)
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _get(self, path: str) -> dict[str, list[dict[str, str]]]:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers={"Authorization": f"Token {TOKEN}"}), timeout=30) as answer:
            found: dict[str, list[dict[str, str]]] = json.load(answer)
        return found

    def _post(self, path: str, body: object) -> None:
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers), timeout=30):
            pass
