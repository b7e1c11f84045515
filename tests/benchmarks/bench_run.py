"""What `tcewatch run` needs at 10,000 readings a second: memory and lag, on a real broker. Figures hold for a quiet machine."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl

from config import settings as site_settings
from ingest.simulate import Outgoing, Publisher
from pipeline.site import Site

READINGS_PER_S, READINGS_A_MESSAGE = 10_000, 100
WARM_UP_S, MEASURED_S = 15, 60
REGISTERS = 10_000  # each tells one reading a second
ENTERPRISE = "91159901MA0EXAMP1D"


def _register() -> dict[str, pl.DataFrame]:
    meters = [f"E-{number:05d}" for number in range(REGISTERS)]
    meter = {"enterprise": ENTERPRISE, "meter": meters}
    return {
        "region": pl.DataFrame({"region": ["159901"]}),
        "park": pl.DataFrame({"park": ["p1"], "region": ["159901"]}),
        "enterprise": pl.DataFrame({"enterprise": [ENTERPRISE], "name_zh": ["示例"], "park": ["p1"]}),
        "gateway": pl.DataFrame({"enterprise": [ENTERPRISE], "gateway": ["GW-01"], "region": ["159901"]}),
        "meter": pl.DataFrame({**meter, "gateway": "GW-01", "medium": "electricity"}),
        "register": pl.DataFrame({**meter, "register": "active_import", "unit": "kWh", "kind": "cumulative"}),
        "assignment": pl.DataFrame({**meter, "register": "active_import", "carrier": "electricity"}),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rss_mb(pid: int) -> float:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _publish(port: int, halt: threading.Event, sent: list[int]) -> None:
    publisher = Publisher("127.0.0.1", port)
    batch = REGISTERS // READINGS_A_MESSAGE
    seq, began, second = 0, time.monotonic(), 0
    while not halt.is_set():
        ts = int(datetime.now(UTC).timestamp() * 1000)
        for part in range(batch):
            seq += 1
            meters = [f"E-{number:05d}" for number in range(part * READINGS_A_MESSAGE, (part + 1) * READINGS_A_MESSAGE)]
            body = {
                "v": 1, "epoch": "bench", "seq": seq, "meter": meters, "register": ["active_import"] * READINGS_A_MESSAGE,
                "ts": [ts] * READINGS_A_MESSAGE, "value": [float(second)] * READINGS_A_MESSAGE,
            }
            publisher.publish([Outgoing(f"tce/v1/159901/{ENTERPRISE}/GW-01/readings", msgspec.json.encode(body), datetime.now(UTC))])
            halt.wait(max(0.0, began + second + (part + 1) / batch - time.monotonic()))
        second += 1
        sent[0] = seq
    publisher.close()


def main() -> None:
    """Run for a minute at the stated rate and print memory, lag and processor time."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        print("tcewatch run: not measured, there is no mosquitto (apt-get install mosquitto)")
        return
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
        config = folder / "mosquitto.conf"
        root = "user root\n" if os.geteuid() == 0 else ""
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 1000000\n{root}")
        settings = folder / "tcewatch.toml"
        settings.write_text(f"[mqtt]\nport = {port}\n[portal]\nport = {_free_port()}\n[log]\nlevel = \"warning\"\n")
        site = Site(site_settings.load(settings))
        site.register.apply(_register(), by="bench", known_from=datetime.now(UTC))
        site.close()
        broker = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run = subprocess.Popen([Path(sys.executable).with_name("tcewatch"), "run", "--settings", settings])
        halt, sent = threading.Event(), [0]
        try:
            time.sleep(6.0)
            threading.Thread(target=_publish, args=(port, halt, sent), daemon=True).start()
            time.sleep(WARM_UP_S)
            site = Site(site_settings.load(settings))
            memory, lag = [], []
            cpu, settled, began = _cpu_s(run.pid), site.ledger.totals().stored, time.monotonic()
            while time.monotonic() - began < MEASURED_S:
                time.sleep(1.0)
                memory.append(_rss_mb(run.pid))
                lag.append(site.waiting())
            took = time.monotonic() - began
            rate = (site.ledger.totals().stored - settled) / took
            print(
                f"tcewatch run, {REGISTERS} registers, {READINGS_PER_S} readings/s for {took:.0f} s: stored {rate:,.0f} readings/s, "
                f"RSS median {statistics.median(memory):.0f} MiB, peak {max(memory):.0f} MiB, "
                f"unsettled messages median {statistics.median(lag):.0f}, max {max(lag)}, {(_cpu_s(run.pid) - cpu) / took:.0%} of one core"
            )
            site.close()
        finally:
            halt.set()
            for process in (run, broker):
                process.terminate()
                process.wait(timeout=30)


if __name__ == "__main__":
    main()
