"""What all tests share: outside programs, sockets, hypothesis, and the count of what was skipped."""

import functools
import gc
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parent.parent
CI = os.environ.get("CI") == "true"
LOOPBACK = ["127.0.0.0/8", "::1", "localhost"]
WITH_SOCKETS = ("contracts", "faults", "e2e")  # folders whose tests talk to real servers on this machine

hypothesis.settings.register_profile("house", deadline=None, max_examples=50, derandomize=CI, print_blob=True)
hypothesis.settings.load_profile("house")


# --- outside programs -------------------------------------------------------------------------------------------------

def _shared_folder() -> Path:
    return Path(os.environ.get("TCEWATCH_SHARED", ROOT.parent / "shared"))


def _in_cache(name: str) -> str | None:
    cached = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tcewatch" / name
    return str(cached) if cached.is_file() else None


def _postgres() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1]) if found else shutil.which("initdb")


def _strace() -> str | None:
    """strace, where this machine lets one process trace another."""
    found = shutil.which("strace")
    if found is None or subprocess.run([found, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        return None
    return found


def _faketime() -> str | None:
    return next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


def _shared_data() -> str | None:
    folder = _shared_folder() / "data"
    return str(folder) if folder.is_dir() else None


@dataclass(frozen=True)
class Tool:
    """How to find an outside program, what to do where it is missing, and whether CI must have it."""

    find: Callable[[], str | None]
    remedy: str
    required_in_ci: bool


TOOLS = {
    # Debian puts mosquitto into /usr/sbin, which is not on every PATH.
    "mosquitto": Tool(lambda: shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin"), "apt-get install mosquitto", True),
    "chromium": Tool(lambda: shutil.which("chromium") or shutil.which("chromium-browser"), "apt-get install chromium", True),
    "influxd": Tool(lambda: os.environ.get("INFLUXD") or shutil.which("influxd") or _in_cache("influxd"), "make influxd, or set INFLUXD", True),
    "strace": Tool(_strace, "apt-get install strace", False),
    "libfaketime": Tool(_faketime, "apt-get install libfaketime", False),
    "postgresql": Tool(_postgres, "apt-get install postgresql", False),
    "shared-data": Tool(_shared_data, "set TCEWATCH_SHARED to the folder that holds data/", False),
}


@functools.cache
def find_tool(name: str) -> Path | None:
    """Where a program (or the shared data folder) is; None where it is missing."""
    found = TOOLS[name].find()
    return Path(found) if found else None


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """`program("influxd")`: the path of an outside program of TOOLS."""

    def find(name: str) -> Path:
        found = find_tool(name)
        if found is None:
            pytest.skip(f"no {name} here ({TOOLS[name].remedy})")
        return found

    return find


@pytest.fixture(scope="session")
def shared_data(program: Callable[[str], Path]) -> Path:
    """The folder of captured data beside the checkout; the test also carries `needs("shared-data")`."""
    return program("shared-data")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if name not in TOOLS:
                pytest.fail(f"needs({name!r}): known are {', '.join(TOOLS)}", pytrace=False)
            if find_tool(name) is None:
                reason = f"no {name} here ({TOOLS[name].remedy})"
                if CI and TOOLS[name].required_in_ci:
                    pytest.fail(f"{reason}; with CI=true that is a failure", pytrace=False)
                pytest.skip(reason)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with empty tables as all migrations leave them, for copies: migrating takes longer than most tests."""
    from store.database import opened

    path = tmp_path_factory.mktemp("migrated") / "empty.db"
    with opened(f"sqlite:///{path}"):
        pass
    return path


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the seeded site of the portal's tests, for copies: making it takes ten seconds."""
    from tests.portal.seeded import seeded

    folder = tmp_path_factory.mktemp("history")
    seeded(folder).close()
    return folder


# --- servers for tests with sockets -----------------------------------------------------------------------------------

@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that finds a port nobody listens on."""
    return _free_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], bool], what: str, *, seconds: float = 20.0) -> None:
    """Poll until something is ready; fail with a sentence where it never is."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} within {seconds:g} s did not happen", pytrace=False)
        time.sleep(0.02)


def _listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@dataclass
class Mosquitto:
    """A broker of our own; `stop` (SIGTERM), `kill` (SIGKILL) and `start` again on the same port and folder."""

    program: Path
    config: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.config.with_suffix(".log")
        with log.open("ab") as sink:
            self.process = subprocess.Popen([self.program, "-c", self.config], stdout=sink, stderr=sink)
        process = self.process
        wait_for(lambda: process.poll() is not None or _listening(self.port), f"mosquitto on port {self.port}")
        if process.poll() is not None:
            pytest.fail(f"mosquitto ended at once: {log.read_text()[-1000:]}", pytrace=False)

    def stop(self) -> None:
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        self._end(subprocess.Popen.kill)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self.process is not None:
            how(self.process)
            self.process.wait(timeout=20)
            self.process = None


@pytest.fixture
def start_mosquitto(program: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """`start_mosquitto("max_queued_messages 100000", ...)`: a running broker, anonymous unless the lines say otherwise."""
    brokers: list[Mosquitto] = []

    def start(*lines: str) -> Mosquitto:
        port = _free_port()
        folder = tmp_path / f"mosquitto-{port}"
        folder.mkdir()
        config = folder / "mosquitto.conf"
        usual = [f"listener {port} 127.0.0.1", "set_tcp_nodelay true", "max_queued_messages 1000000"]
        usual += [] if any(line.startswith("persistence_location") for line in lines) else [f"persistence_location {folder}/"]
        usual += [] if any(line.startswith("allow_anonymous") for line in lines) else ["allow_anonymous true"]
        # Started by root, mosquitto gives up its rights; it must still be able to write its folder.
        usual += ["user root"] if os.geteuid() == 0 else []
        config.write_text("\n".join([*usual, *lines, ""]))
        brokers.append(Mosquitto(program("mosquitto"), config, port))
        brokers[-1].start()
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()


@dataclass(frozen=True)
class Influx:
    """A running InfluxDB 2 with one organisation, one bucket and an all-access token."""

    url: str
    org: str = "tcewatch"
    bucket: str = "tcewatch"
    token: str = "token-of-the-tests"


@pytest.fixture(scope="session")
def influx(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """One InfluxDB 2 for the session; give each test a bucket or an enterprise of its own."""
    folder = tmp_path_factory.mktemp("influxd")
    port = _free_port()
    command = [
        program("influxd"), "--bolt-path", folder / "i.bolt", "--sqlite-path", folder / "i.sqlite", "--engine-path", folder / "engine",
        "--http-bind-address", f"127.0.0.1:{port}", "--reporting-disabled", "--log-level", "error",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: process.poll() is not None or _listening(port), f"influxd on port {port}")
            server = Influx(f"http://127.0.0.1:{port}")
            setup = {
                "username": "tester", "password": "password-of-the-tests", "org": server.org, "bucket": server.bucket,
                "token": server.token, "retentionPeriodSeconds": 0,
            }
            request = urllib.request.Request(f"{server.url}/api/v2/setup", json.dumps(setup).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=20):
                pass
            yield server
        finally:
            process.terminate()


# --- the house --------------------------------------------------------------------------------------------------------

def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    # First all questions, then the change: a marker on a class or module belongs to several items.
    talking = [item for item in items if item.path.relative_to(here).parts[0] in WITH_SOCKETS or item.get_closest_marker("enable_socket")]
    for item in talking:
        for node in item.listchain():
            node.own_markers[:] = [marker for marker in node.own_markers if marker.name != "enable_socket"]
        item.add_marker(pytest.mark.allow_hosts(LOOPBACK))  # sockets, but to this machine only


class _ByFile(LoadFileScheduling):
    """Each test file whole in one process, and all that talk to servers in the same one: what measures waiting has one busy neighbour at most."""

    def _split_scope(self, nodeid: str) -> str:
        return "sockets" if nodeid.startswith(tuple(f"tests/{folder}/" for folder in WITH_SOCKETS)) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _ByFile(config, log)


@pytest.fixture(autouse=True, scope="module")
def _leaks_show_where_they_happen() -> Iterator[None]:
    """An unclosed file or socket is a warning, so an error; collecting here names its module and not a later one."""
    yield
    gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped") if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("skipped", sep="-")
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count:5d}  {reason}")
