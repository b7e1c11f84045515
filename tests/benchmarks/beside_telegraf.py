"""Ingest beside Telegraf: the same messages, broker and InfluxDB, one after the other on one machine.

`make bench-ingest`. Prints, for 100, 10 and 1 readings a message, readings/s from process start until all are countable in the
store, processor seconds and peak memory of each process; the time from publish to visible at 10,000 readings/s; what is lost
after `kill -9` and a stopped database; memory with a backlog. Medians of the runs, with ratios; a JSON file and a plot beside it.
Both write value, quality, received_at and message of each reading. tcewatch runs as `run collect` and `run settle`, at its
default settings (a journal with hash chain, register look-up, units, screening, receipts, ledger).
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "contracts")]

import paho.mqtt.client as mqtt  # noqa: E402 - the paths above come first
import polars as pl  # noqa: E402 - the paths above come first
from influxd_server import InfluxServer  # noqa: E402 - the paths above come first
from stdnum.cn import uscc  # noqa: E402 - the paths above come first

from config import settings as site_settings  # noqa: E402 - the paths above come first
from pipeline.site import Site  # noqa: E402 - the paths above come first

ENTERPRISES = [code + uscc.calc_check_digit(code) for code in (f"91150621MA0BENCH{number}" for number in range(10))]
METERS = 1000  # of each enterprise
SERIES = METERS * len(ENTERPRISES)
SIZES = {100: 1_000_000, 10: 500_000, 1: 200_000}  # readings a message -> readings
TELEGRAF_BEST = {"metric_batch_size": 10_000, "metric_buffer_limit": 2_000_000, "flush_interval": '"200ms"'}
TELEGRAF_MESSAGES = {"qos": 1, "persistent_session": "true", "client_id": '"telegraf"', "max_undelivered_messages": 10_000}
GIVE_UP_S = 120.0
PROBE = "P-0"


# --- what is published ------------------------------------------------------------------------------------------------

def messages(readings: int, per_message: int, start_s: int, *, kind: str = "readings") -> Iterator[tuple[str, bytes]]:
    """Time-major, one instant a second from `start_s` on, so many readings in a message."""
    seqs = dict.fromkeys(ENTERPRISES, 0)
    for number in range(readings // per_message):
        first = number * per_message
        step, place = divmod(first, SERIES)
        enterprise = ENTERPRISES[place // METERS]
        seqs[enterprise] += 1
        rows = [(f"E-{place % METERS + row:03d}", (start_s + step) * 1000, step * 1.25 + (place + row) * 0.5) for row in range(per_message)]
        yield f"tce/v1/150621/{enterprise}/gw-1/{kind}", payload(seqs[enterprise], rows)


def payload(seq: int, rows: Iterable[tuple[str, int, float]]) -> bytes:
    """A message of the contract; `sent_us` and `q` give Telegraf what tcewatch makes itself, so that both store the same fields."""
    readings = ",".join(f'{{"meter":"{meter}","register":"active_import","ts":{ts},"value":{value},"unit":"kWh","q":0}}' for meter, ts, value in rows)
    return f'{{"v":1,"epoch":"bench","seq":{seq},"sent_us":{int(time.time() * 1e6)},"readings":[{readings}]}}'.encode()


def register() -> dict[str, pl.DataFrame]:
    """The register of the park that is measured."""
    meters = pl.DataFrame({"enterprise": ENTERPRISES}).join(pl.DataFrame({"meter": [*(f"E-{n:03d}" for n in range(METERS)), PROBE]}), how="cross")
    return {
        "region": pl.DataFrame({"region": ["150621"]}),
        "park": pl.DataFrame({"park": ["p1"], "region": ["150621"]}),
        "enterprise": pl.DataFrame({"enterprise": ENTERPRISES, "name_zh": "示例", "park": "p1"}),
        "gateway": pl.DataFrame({"enterprise": ENTERPRISES, "gateway": "gw-1", "region": "150621"}),
        "meter": meters.with_columns(gateway=pl.lit("gw-1"), medium=pl.lit("electricity")),
        "register": meters.with_columns(register=pl.lit("active_import"), unit=pl.lit("kWh"), kind=pl.lit("cumulative")),
    }


class RawPublisher:
    """QoS 1 publishes over a bare socket: quick enough to be no part of what is measured."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"\x10\x13\x00\x04MQTT\x04\x02\x00\x00\x00\x07bench-p")
        self._socket.recv(4)
        self._sent = self._acked = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, topic: str, body: bytes) -> None:
        """Send one message; waits while 5,000 are not acknowledged."""
        self._sent += 1
        name = topic.encode()
        rest = struct.pack("!H", len(name)) + name + struct.pack("!H", self._sent % 65_535 + 1) + body
        size, length = len(rest), b""
        while True:
            size, low = size >> 7, size & 127
            length += bytes([low | (128 if size else 0)])
            if not size:
                break
        self._socket.sendall(b"\x32" + length + rest)
        while self._sent - self._acked > 5_000:
            time.sleep(0.001)

    def finish(self) -> None:
        """Wait until the broker has acknowledged everything, and leave."""
        while self._acked < self._sent:
            time.sleep(0.005)
        self._socket.sendall(b"\xe0\x00")
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        left = 0
        while came := self._socket.recv(65_536):
            self._acked, left = self._acked + (left + len(came)) // 4, (left + len(came)) % 4


def publish(port: int, given: Iterable[tuple[str, bytes]], *, rate: float | None = None, halt: threading.Event | None = None) -> int:
    """Publish messages, so many a second at most; how many."""
    publisher, count, began = RawPublisher(port), 0, time.monotonic()
    for topic, body in given:
        if halt is not None and halt.is_set():
            break
        if rate is not None:
            time.sleep(max(0.0, began + count / rate - time.monotonic()))
        publisher.send(topic, body)
        count += 1
    publisher.finish()
    return count


# --- processes --------------------------------------------------------------------------------------------------------

def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int, what: str = "VmHWM") -> float:
    """Peak (VmHWM) or present (VmRSS) resident memory."""
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith(what))
    return int(line.split()[1]) / 1024


def end(process: subprocess.Popen[Any]) -> None:
    """Stop a process that we started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def broker(folder: Path) -> Iterator[tuple[int, int]]:
    """A mosquitto; port and process id."""
    port, config = free_port(), folder / "mosquitto.conf"
    root = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 1000000\nmax_inflight_messages 1000\n"
        f"persistence false\n{root}"
    )
    process = subprocess.Popen([found("mosquitto"), "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: listens(port))
    try:
        yield port, process.pid
    finally:
        end(process)


class Telegraf:
    """Telegraf with its mqtt_consumer, json_v2 and influxdb_v2."""

    name = "telegraf"

    def __init__(self, folder: Path, port: int, influx: InfluxServer, *, agent: dict[str, Any], consumer: dict[str, Any]) -> None:
        self._config, self._port, self._persistent = folder / "telegraf.conf", port, "persistent_session" in consumer
        self.processes: list[subprocess.Popen[bytes]] = []

        def lines(values: dict[str, Any]) -> str:
            return "\n".join(f"{key} = {value}" for key, value in values.items())

        self._config.write_text(f"""
[agent]
omit_hostname = true
{lines(agent)}
[[inputs.mqtt_consumer]]
servers = ["tcp://127.0.0.1:{port}"]
topics = ["tce/v1/+/+/+/readings"]
topic_tag = ""
data_format = "json_v2"
{lines(consumer)}
[[inputs.mqtt_consumer.topic_parsing]]
topic = "tce/v1/+/+/+/readings"
tags = "_/_/_/enterprise/_/_"
[[inputs.mqtt_consumer.json_v2]]
measurement_name = "reading"
[[inputs.mqtt_consumer.json_v2.field]]
path = "seq"
rename = "message"
type = "int"
[[inputs.mqtt_consumer.json_v2.field]]
path = "sent_us"
rename = "received_at"
type = "int"
[[inputs.mqtt_consumer.json_v2.object]]
path = "readings"
timestamp_key = "ts"
timestamp_format = "unix_ms"
tags = ["meter", "register"]
excluded_keys = ["unit"]
[inputs.mqtt_consumer.json_v2.object.fields]
value = "float"
q = "int"
[inputs.mqtt_consumer.json_v2.object.renames]
q = "quality"
[[outputs.influxdb_v2]]
urls = ["{influx.url}"]
token = "{influx.token}"
organization = "{influx.org}"
bucket = "{influx.bucket}"
content_encoding = "identity"
""")

    def subscribe(self) -> None:
        """Make the persistent session, as an earlier run would have left it."""
        if not self._persistent:
            return
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "telegraf", clean_session=False)
        done = threading.Event()
        client.on_subscribe = lambda *_: done.set()
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        client.subscribe("tce/v1/+/+/+/readings", 1)
        done.wait(10)
        client.disconnect()
        client.loop_stop()

    def start(self) -> None:
        """Start it."""
        program = [found("telegraf"), "--config", self._config, "--quiet"]
        self.processes = [subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]


class Tcewatch:
    """`tcewatch run collect` and `run settle` at default settings."""

    name = "tcewatch"

    def __init__(self, folder: Path, port: int, influx: InfluxServer | None) -> None:
        self._settings = folder / "tcewatch.toml"
        store = "" if influx is None else (
            f'[store]\nreadings = "influxdb"\n[store.influxdb]\nurl = "{influx.url}"\norg = "{influx.org}"\nbucket = "{influx.bucket}"\n'
            f'token = "{influx.token}"\n'
        )
        self._settings.write_text(f'[site]\ndata_dir = "var"\n[mqtt]\nport = {port}\n{store}[log]\nlevel = "warning"\n')
        site = self.site()
        site.register.apply(register(), by="bench", known_from=datetime(2020, 1, 1, tzinfo=UTC))
        site.close()
        self.processes: list[subprocess.Popen[bytes]] = []

    def site(self) -> Site:
        """The site, opened in this process."""
        return Site(site_settings.load(self._settings))

    def subscribe(self) -> None:
        """Make the persistent sessions, as an earlier run would have left them."""
        port = free_port()
        process = self._run("collect", "--health-port", str(port))
        wait_for(lambda: listens(port) and ready(port), process)
        end(process)

    def start(self) -> None:
        """Start both services."""
        self.processes = [self._run("collect"), self._run("settle")]

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([Path(sys.executable).with_name("tcewatch"), "run", *arguments, "--settings", self._settings])


def ready(port: int) -> bool:
    """Whether a service says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what: Callable[[], bool], process: subprocess.Popen[Any] | None = None, *, within_s: float = 60.0, step_s: float = 0.05) -> bool:
    """Wait until it holds; False where it does not in time."""
    deadline = time.monotonic() + within_s
    while not what():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        if time.monotonic() > deadline:
            return False
        time.sleep(step_s)
    return True


def found(name: str) -> Path:
    """A program: named by the environment (INFLUXD, TELEGRAF), on PATH, in tcewatch's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tcewatch" / "bin"
    for place in (os.environ.get(name.upper()), shutil.which(name), shutil.which(name, path="/usr/sbin"), shutil.which(name, path=str(cache))):
        if place:
            return Path(place)
    raise SystemExit(f"There is no {name}: name it in ${name.upper()} or put it on PATH.")


# --- what is asked of InfluxDB ----------------------------------------------------------------------------------------

def flux(influx: InfluxServer, query: str) -> list[str]:
    """Lines of an answer, without its header."""
    headers = {"Authorization": f"Token {influx.token}", "Content-Type": "application/vnd.flux", "Accept": "application/csv"}
    request = urllib.request.Request(f"{influx.url}/api/v2/query?org={influx.org}", query.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return [line for line in answer.read().decode().split("\r\n")[1:] if line]
    except OSError:
        return []


def count(influx: InfluxServer, since_s: float = 0.0, meter: str = "") -> int:
    """Points in the bucket, from an instant on; those of one meter of the last enterprise cost next to nothing."""
    of_meter = f' and r.enterprise == "{ENTERPRISES[-1]}" and r.meter == "{meter}"' if meter else ""
    lines = flux(influx, f'from(bucket:"{influx.bucket}") |> range(start: {_instant(since_s)}) '
                         f'|> filter(fn: (r) => r._measurement == "reading" and r._field == "value"{of_meter}) |> count() |> group() |> sum() '
                         '|> keep(columns: ["_value"])')
    return int(lines[0].rsplit(",", 1)[1]) if lines else 0


def probes(influx: InfluxServer, since_s: float) -> list[float]:
    """Instants (Unix seconds) of the visible probe readings."""
    lines = flux(influx, f'from(bucket:"{influx.bucket}") |> range(start: {_instant(since_s)}) '
                         f'|> filter(fn: (r) => r._measurement == "reading" and r._field == "value" and r.meter == "{PROBE}") '
                         '|> keep(columns: ["_time"])')
    return [datetime.fromisoformat(line.rsplit(",", 1)[1]).timestamp() for line in lines]


def _instant(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- the parts --------------------------------------------------------------------------------------------------------

Make = Callable[[Path, int, InfluxServer], Telegraf | Tcewatch]
SYSTEMS: dict[str, Make] = {
    "telegraf": lambda folder, port, influx: Telegraf(folder, port, influx, agent=TELEGRAF_BEST, consumer=TELEGRAF_MESSAGES),
    "tcewatch": Tcewatch,
    "tcewatch+duckdb": lambda folder, port, _: Tcewatch(folder, port, None),
}


@contextmanager
def bench(make: Make) -> Iterator[tuple[Telegraf | Tcewatch, int, int, InfluxServer]]:
    """A system with a broker and an InfluxDB of its own: the system, broker port and process id, the InfluxDB."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port, pid = stack.enter_context(broker(folder))
        influx = InfluxServer(found("influxd"), folder)
        stack.callback(influx.stop)
        system = make(folder, port, influx)
        stack.callback(lambda: list(map(end, system.processes)))
        yield system, port, pid, influx


def throughput(make: Make, per_message: int, readings: int) -> dict[str, float]:
    """A queue filled first; from process start until all readings are countable."""
    with bench(make) as (system, port, broker_pid, influx):
        embedded = isinstance(system, Tcewatch) and "influxdb" not in system._settings.read_text()
        system.subscribe()
        start_s = int(time.time()) - readings // SERIES - 600
        publish(port, messages(readings, per_message, start_s))
        broker_s, influx_s = cpu_s(broker_pid), cpu_s(influx.pid)
        site = system.site() if isinstance(system, Tcewatch) and embedded else None
        began = time.monotonic()
        system.start()

        def complete() -> bool:
            if site is not None:
                return site.ledger.totals().stored >= readings
            # First the very last reading, then all: asking for all from the start on would take a part of the processor.
            return count(influx, start_s + readings // SERIES - 1, f"E-{METERS - 1:03d}") > 0 and count(influx) >= readings

        done = wait_for(complete, within_s=GIVE_UP_S, step_s=0.02 if embedded else 0.2)  # a query costs InfluxDB ten milliseconds
        took_s = time.monotonic() - began
        measured = {
            "readings_per_s": readings / took_s, "complete": float(done), "took_s": took_s,
            "ingester_cpu_s": sum(cpu_s(process.pid) for process in system.processes), "influxd_cpu_s": cpu_s(influx.pid) - influx_s,
            "broker_cpu_s": cpu_s(broker_pid) - broker_s,
            "ingester_peak_mib": sum(memory_mib(process.pid) for process in system.processes), "influxd_peak_mib": memory_mib(influx.pid),
        }
        if site is not None:
            site.close()
        return measured


def latency(make: Make, seconds: int) -> dict[str, float]:
    """100 messages of 100 readings a second; from publish to visible."""
    with bench(make) as (system, port, _, influx):
        system.subscribe()
        system.start()
        halt = threading.Event()
        sender = threading.Thread(target=publish, args=(port, _live(halt)), kwargs={"rate": 100.0, "halt": halt}, daemon=True)
        sender.start()
        time.sleep(8.0)
        return {**_watch(system, influx, seconds), **_leave(halt, sender)}


def _leave(halt: threading.Event, sender: threading.Thread) -> dict[str, float]:
    halt.set()
    sender.join()
    return {}


def _live(halt: threading.Event) -> Iterator[tuple[str, bytes]]:
    seq = 0
    while not halt.is_set():
        seq += 1
        ts, first = int(time.time() * 1000), seq % 10 * 99
        rows = [(PROBE, ts, float(seq)), *((f"E-{first + row:03d}", ts, seq * 1.25 + row) for row in range(99))]
        yield f"tce/v1/150621/{ENTERPRISES[0]}/gw-1/readings", payload(seq, rows)


def _watch(system: Telegraf | Tcewatch, influx: InfluxServer, seconds: int, until: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Poll for the probe readings; latency, processor share and memory over that time."""
    seen: dict[float, float] = {}
    rss: list[float] = []
    cpu, influx_cpu, began, start_s = sum(cpu_s(one.pid) for one in system.processes), cpu_s(influx.pid), time.monotonic(), time.time()
    while time.monotonic() - began < seconds and not until():
        now_visible = probes(influx, max(start_s, time.time() - 12.0))
        at = time.time()
        for instant in now_visible:
            seen.setdefault(instant, at - instant)
        if len(rss) < (time.monotonic() - began) * 2:
            rss.append(sum(memory_mib(one.pid, "VmRSS") for one in system.processes))
        time.sleep(0.01)
    took_s = time.monotonic() - began
    waits = sorted(seen.values()) or [float("nan")]
    return {
        "p50_ms": waits[len(waits) // 2] * 1000, "p99_ms": waits[int(len(waits) * 0.99)] * 1000, "max_ms": waits[-1] * 1000, "probes": len(seen),
        "ingester_cpu_ratio": (sum(cpu_s(one.pid) for one in system.processes) - cpu) / took_s,
        "influxd_cpu_ratio": (cpu_s(influx.pid) - influx_cpu) / took_s,
        "first_rss_mib": rss[0] if rss else 0.0, "last_rss_mib": rss[-1] if rss else 0.0,
        "peak_mib": sum(memory_mib(one.pid) for one in system.processes),
    }


def loss(make: Make) -> dict[str, float]:
    """20,000 messages of 10 at 1,000/s; database stopped from 6 s to 17 s, `kill -9` of the ingester at 10 s, its start at 13 s."""
    total = 200_000
    with bench(make) as (system, port, _, influx):
        system.subscribe()
        system.start()
        time.sleep(5.0)
        given = list(messages(total, 10, int(time.time()) - 600))
        sender = threading.Thread(target=publish, args=(port, given), kwargs={"rate": 1000.0}, daemon=True)
        sender.start()
        began = time.monotonic()

        def at(second: float) -> None:
            time.sleep(max(0.0, began + second - time.monotonic()))

        at(6)
        influx.stop()
        at(10)
        for process in system.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        at(13)
        system.start()
        at(17)
        influx.start()
        sender.join()
        published = time.monotonic()
        wait_for(lambda: count(influx) >= total, within_s=30.0, step_s=0.2)
        measured = {"missing": float(total - count(influx)), "complete_after_s": time.monotonic() - published}
        if isinstance(system, Tcewatch):
            time.sleep(2.0)
            measured["doubled"] = float(_doubled(system, total, influx))
        return measured


def _doubled(system: Tcewatch, readings: int, influx: InfluxServer) -> int:
    """Readings that the ledger or the store counts more than once, beyond what was sent."""
    site = system.site()
    totals = site.ledger.totals()
    site.close()
    return totals.stored + totals.conflicting - readings + (totals.duplicate if totals.received == readings // 10 else 0) + count(influx) - readings


def backlog(make: Make) -> dict[str, float]:
    """A queue of 10,000 messages of 100 readings while the database is stopped; then it comes back."""
    total = 1_000_000
    with bench(make) as (system, port, _, influx):
        system.subscribe()
        publish(port, messages(total, 100, int(time.time()) - 600))
        influx.stop()
        system.start()
        time.sleep(20.0)
        stopped_mib = sum(memory_mib(process.pid) for process in system.processes)
        influx.start()
        began = time.monotonic()
        wait_for(lambda: count(influx) >= total, within_s=60.0, step_s=0.25)
        return {
            "missing": float(total - count(influx)), "drained_after_s": time.monotonic() - began, "stopped_peak_mib": stopped_mib,
            "peak_mib": sum(memory_mib(process.pid) for process in system.processes),
        }


def history(readings: int) -> dict[str, float]:
    """Six months at once: so many readings on `backfill` in messages of 100, while 10,000 live readings a second come in."""
    with bench(Tcewatch) as (system, port, _, influx):
        assert isinstance(system, Tcewatch)
        system.subscribe()
        publish(port, messages(readings, 100, int(time.time()) - 86_400, kind="backfill"))
        system.start()
        halt = threading.Event()
        sender = threading.Thread(target=publish, args=(port, _live(halt)), kwargs={"rate": 100.0, "halt": halt}, daemon=True)
        sender.start()
        site = system.site()
        time.sleep(8.0)
        began = time.monotonic()
        settled = site.ledger.totals
        # Live messages are few beside it: the backlog is through when nothing of it waits.
        measured = _watch(system, influx, 600, until=lambda: settled().stored >= readings and site.journal.last_id() - settled().received < 100)
        halt.set()
        sender.join()
        site.close()
        return {**measured, "drained_s": time.monotonic() - began}


# --- printing ---------------------------------------------------------------------------------------------------------

def medians(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The median of each measured value, and all runs."""
    return {**{name: statistics.median(run[name] for run in runs) for name in runs[0]}, "runs": list(runs)}


def repeated(runs: int, measure: Mapping[str, Callable[[], dict[str, float]]]) -> dict[str, Any]:
    """Measure systems in turn, some times, saying each: a machine that slows down does so for all of them."""
    values: dict[str, list[dict[str, float]]] = {name: [] for name in measure}
    for number in range(runs):
        for name, once in measure.items():
            values[name].append(once())
            told = ", ".join(f"{key} {value:,.3g}" if value < 100 else f"{key} {value:,.0f}" for key, value in values[name][-1].items())
            print(f"  {name} run {number + 1}: {told}", flush=True)
    return {name: medians(each) for name, each in values.items()}


def plot(result: dict[str, Any], path: Path) -> None:
    """Throughput as bars."""
    import altair

    rows = [
        {"readings a message": size, "system": system, "k readings/s": values["readings_per_s"] / 1000}
        for size, systems in result["throughput"].items() for system, values in systems.items()
    ]
    altair.Chart(pl.DataFrame(rows)).mark_bar().encode(
        x=altair.X("system:N", title=None), y="k readings/s:Q", color="system:N",
        column=altair.Column("readings a message:O", sort=["100", "10", "1"]),
    ).save(str(path))


def main() -> None:
    """Measure what is asked for and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["throughput", "latency", "loss", "backlog", "history"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seconds", type=int, default=60, help="of the latency part")
    parser.add_argument("--history", type=int, default=10_000_000, help="readings of the backlog of six months")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/ingest.json"))
    wanted = parser.parse_args()
    result: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count()}
    on_influx = [name for name in wanted.systems if name != "tcewatch+duckdb"]
    if "throughput" in wanted.parts:
        result["throughput"] = {}
        for size in wanted.sizes:
            print(f"== {size} readings a message, {SIZES[size]:,} readings", flush=True)
            each = repeated(wanted.runs, {name: partial(throughput, SYSTEMS[name], size, SIZES[size]) for name in wanted.systems})
            result["throughput"][str(size)] = each
            for name, values in each.items():
                ratio = values["readings_per_s"] / each["telegraf"]["readings_per_s"] if "telegraf" in each else float("nan")
                cpu = values["ingester_cpu_s"] / each["telegraf"]["ingester_cpu_s"] if "telegraf" in each else float("nan")
                print(f"{name}: {values['readings_per_s']:,.0f} readings/s ({ratio:.2f} x Telegraf), "
                      f"ingester {values['ingester_cpu_s']:.2f} CPU s ({cpu:.2f} x), influxd {values['influxd_cpu_s']:.2f}, "
                      f"peak {values['ingester_peak_mib']:.0f} MiB", flush=True)
    if "latency" in wanted.parts:
        print("== publish to visible, 100 messages/s of 100 readings", flush=True)
        result["latency"] = repeated(1, {name: partial(latency, SYSTEMS[name], wanted.seconds) for name in on_influx})
    if "loss" in wanted.parts:
        print("== database stopped, ingester killed", flush=True)
        defaults: Make = lambda folder, port, influx: Telegraf(folder, port, influx, agent={}, consumer={})  # noqa: E731
        losing = {**{name: SYSTEMS[name] for name in on_influx}, **({"telegraf, defaults": defaults} if "telegraf" in on_influx else {})}
        result["loss"] = repeated(1, {name: partial(loss, make) for name, make in losing.items()})
    if "backlog" in wanted.parts:
        print("== 1 M readings queued, database stopped", flush=True)
        result["backlog"] = repeated(1, {name: partial(backlog, SYSTEMS[name]) for name in on_influx})
    if "history" in wanted.parts and "tcewatch" in wanted.systems:
        print(f"== {wanted.history:,} readings of history beside 10,000 live readings/s", flush=True)
        result["history"] = repeated(1, {"tcewatch": partial(history, wanted.history)})
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    wanted.out.write_text(json.dumps(result, indent=1) + "\n")
    if "throughput" in result:
        plot(result, wanted.out.with_suffix(".svg"))
    print(f"written: {wanted.out}")


if __name__ == "__main__":
    main()
