"""The receiving half alone, one reading a message: broker -> journal -> acknowledged. `python tests/benchmarks/bench_collect.py [MESSAGES]`.

A persistent session is filled first by a raw client, then a collector in a process of its own drains it: at the default
settings with MQTT 5, and with MQTT 3.1.1. The floors are the same without the journal: what the connection alone costs.
"""

import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import mqtt5
import structlog

from config.errors import BrokerUnavailableError
from config.settings import MqttSettings
from ingest.collector import Collector, topics_of
from ingest.connect import connection_to
from store.journal import Arrival, Journal

AIM_MESSAGES_PER_S = 60_000
MESSAGES, WINDOW, GATEWAYS, RUNS = 200_000, 500, 100, 3
CONFIGURATION = """
listener {port} 127.0.0.1
set_tcp_nodelay true
max_queued_messages 1000000
max_inflight_messages 1000
persistence false
allow_anonymous true
"""


class NoJournal:
    """Keeps nothing: the floor."""

    def append(self, arrivals: list[Arrival]) -> list[int]:
        return list(range(len(arrivals)))


def main() -> None:
    """Print messages/s and CPU of each way, the median of some runs."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    for protocol, journal in (("5", "journal"), ("3.1.1", "journal"), ("5", "none"), ("3.1.1", "none")):
        runs = sorted((_run(protocol, journal, count) for _ in range(RUNS)), key=lambda one: one["rate"])
        median = runs[len(runs) // 2]
        aim = f" (aim {AIM_MESSAGES_PER_S / 1e3:g} k)" if (protocol, journal) == ("5", "journal") else ""
        print(
            f"MQTT {protocol:5}, {'journal and acknowledgement' if journal == 'journal' else 'acknowledgement alone':27}: "
            f"{runs[0]['rate'] / 1e3:5.1f} / {median['rate'] / 1e3:5.1f} / {runs[-1]['rate'] / 1e3:5.1f} k messages/s{aim}, "
            f"{median['cpu_us']:.1f} us CPU a message, {median['rss_mib']:.0f} MiB at most"
        )


def _run(protocol: str, journal: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        configuration = Path(folder) / "mosquitto.conf"
        configuration.write_text(CONFIGURATION.format(port=port))
        with subprocess.Popen(["mosquitto", "-c", configuration], stderr=subprocess.DEVNULL) as broker:
            try:
                _subscribe(MqttSettings(port=port, protocol=protocol))  # type: ignore[arg-type]
                _fill(port, count)
                words = [sys.executable, __file__, "drain", str(port), protocol, journal, str(count), folder]
                drained = subprocess.run(words, check=True, capture_output=True)
            finally:
                broker.terminate()
    return json.loads(drained.stdout)


def _subscribe(settings: MqttSettings) -> None:
    """Leave a session that the broker fills."""
    deadline = time.monotonic() + 10
    while True:
        connection = connection_to(settings, settings.client_id, session_expiry_s=3600)
        try:
            connection.open()
            connection.subscribe(topics_of(settings))
            while not connection.subscribed:
                connection.step(0.1)
            return
        except BrokerUnavailableError:  # it is still starting
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


def _fill(port: int, count: int) -> None:
    filler, said = socket.create_connection(("127.0.0.1", port)), b""
    filler.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    filler.sendall(mqtt5.ConnectPacket("filler", clean_start=True).write())
    owed = 1
    for first in range(0, count + WINDOW, WINDOW):
        while owed:
            said += filler.recv(65_536)
            done = 0
            while True:
                try:
                    done += mqtt5.read(memoryview(said)[done:])[1]
                except IndexError:
                    break
                owed -= 1
            said = said[done:]
        packets = [_packet(number, number - first + 1) for number in range(first, min(first + WINDOW, count))]
        filler.sendall(b"".join(packets))
        owed = len(packets)
    filler.close()


def _packet(number: int, packet_id: int) -> bytes:
    reading = f'{{"meter":"E-001","register":"active_import","ts":{1_795_133_700_000 + number},"value":17803.4,"unit":"kWh"}}'
    payload = f'{{"v":1,"epoch":"2026-11-20T08:00:00+08:00","seq":{number + 1},"readings":[{reading}]}}'
    topic = f"tce/v1/150621/91150621MA0EXAMPLE/gw-{number % GATEWAYS}/readings"
    return mqtt5.PublishPacket(topic, payload.encode(), qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id).write()


def drain(port: int, protocol: str, journal: str, count: int, folder: str) -> None:
    """Collect so many messages and print what it took."""
    stop, kept = threading.Event(), Journal(Path(folder) / "journal") if journal == "journal" else NoJournal()
    collector = Collector(MqttSettings(port=port, protocol=protocol), kept, stop=stop)  # type: ignore[arg-type]
    threading.Thread(target=_stop_at, args=(collector, count, stop), daemon=True).start()
    used, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    collector.run()
    wall_s, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    print(json.dumps({"rate": count / wall_s, "cpu_us": cpu_s / count * 1e6, "rss_mib": now.ru_maxrss / 1024}))


def _stop_at(collector: Collector, count: int, stop: threading.Event) -> None:
    while collector.received < count:
        time.sleep(0.01)
    stop.set()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if sys.argv[1:2] == ["drain"]:
        drain(int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6])
    else:
        main()
