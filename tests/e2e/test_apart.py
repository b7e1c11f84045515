"""Real mosquitto, real InfluxDB, every service in a process of its own."""

import csv
import io
import json
import signal
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

START = datetime(2026, 3, 1, tzinfo=UTC)
SERVICES = ("collect", "settle", "roll", "evaluate", "watch", "send", "retention", "portal")


def readings(enterprises: tuple[str, ...], instants: int) -> pl.DataFrame:
    return pl.DataFrame([
        {"enterprise": code, "gateway": "GW-01", "meter": f"E-{meter}", "register": "active_import",
         "read_at": START + timedelta(minutes=15 * step), "value": 1000.0 * meter + step * meter}
        for code in enterprises for step in range(instants) for meter in (1, 2, 3)
    ])


def wait_for(holds, what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.1)


def in_influx(influx) -> set[tuple[str, str, str, datetime, float]]:
    """Every stored value, asked of InfluxDB's own query API."""
    flux = (
        f'from(bucket: "{influx.bucket}") |> range(start: 2026-01-01T00:00:00Z)'
        ' |> filter(fn: (r) => r._measurement == "reading" and r._field == "value")'
    )
    request = urllib.request.Request(
        f"{influx.url}/api/v2/query?org={influx.org}", json.dumps({"query": flux, "dialect": {"annotations": []}}).encode(),
        {"Authorization": f"Token {influx.token}", "Content-Type": "application/json", "Accept": "application/csv"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    rows = [row for part in text.split("\r\n\r\n") for row in csv.DictReader(io.StringIO(part)) if row.get("_time")]
    return {(row["enterprise"], row["meter"], row["register"], datetime.fromisoformat(row["_time"]), float(row["_value"])) for row in rows}


@pytest.mark.needs("mosquitto", "influxd")
def test_every_published_reading_is_found_in_influxdb_and_rolled_up(start_mosquitto, influx, processes, free_port, tmp_path):
    broker = start_mosquitto()
    portal_port = free_port()
    site = processes(
        broker.port,
        f'[store]\nreadings = "influxdb"\n[store.influxdb]\nurl = "{influx.url}"\norg = "{influx.org}"\nbucket = "{influx.bucket}"\n'
        f"[portal]\nport = {portal_port}\n",
        {"TCEWATCH_STORE__INFLUXDB__TOKEN": influx.token},
    )
    running = [site.start("run", name) for name in SERVICES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TCEWATCH_STORE__INFLUXDB__TOKEN", influx.token)
        adapters = site.site()
    enterprises = tuple(adapters.register.enterprises()["enterprise"].sort())
    sent = readings(enterprises, 400)
    sent.write_parquet(tmp_path / "sent.parquet")
    wait_for(lambda: "connected" in site.log(), "connecting")  # what is published before the first subscription reaches nobody
    told = site.call(
        "gateway", "simulate", tmp_path / "sent.parquet", "--url", f"mqtt://127.0.0.1:{broker.port}", "--region", "159901", "--receipts", "3"
    )
    assert told["published"] == 800
    wait_for(lambda: adapters.journal.last_id() > 0 and not adapters.waiting(), "settling")
    totals = adapters.ledger.totals()
    assert (totals.published, totals.received, totals.undecodable, totals.missing) == (800, 800, 0, 0)
    assert (totals.decoded, totals.stored, totals.rejected) == (2400, 2400, 0)
    want = {tuple(row) for row in sent.select("enterprise", "meter", "register", "read_at", "value").iter_rows()}
    found = {row for row in in_influx(influx) if row[0] in enterprises and row[1] in {"E-1", "E-2", "E-3"}}  # others use the bucket too
    assert found == want
    wait_for(lambda: adapters.ledger.dirty().is_empty(), "rolling up")
    wait_for(lambda: adapters.derived.read_result("energy") is not None, "evaluating")
    hours = adapters.derived.read("hourly", START.date(), START.date() + timedelta(days=8)).collect()
    assert hours["quantity"].sum() == pytest.approx(2 * 399 * (1 + 2 + 3))
    time.sleep(1.5)  # two intervals of the evaluation
    assert site.call("rebuild", "--compare", "--settings", site.settings)["equal"] is True
    with urllib.request.urlopen(f"http://127.0.0.1:{portal_port}/health/ready", timeout=20) as answer:
        assert answer.status == 200
    adapters.close()
    for process in running:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=20) for process in running] == [0] * len(running), site.log()


@pytest.mark.needs("mosquitto")
def test_the_broker_coming_back_is_noticed_within_five_seconds(start_mosquitto, processes, free_port):
    broker = start_mosquitto()
    site = processes(broker.port, f"[portal]\nport = {free_port()}\n")
    process = site.start("run")
    wait_for(lambda: site.log().count("connected") >= 1, "connecting")
    broker.stop()
    wait_for(lambda: "cannot be reached" in site.log(), "noticing that the broker is away")
    before = site.log().count("connected ")
    time.sleep(4.0)
    broker.start()
    back = time.monotonic()
    wait_for(lambda: site.log().count("connected ") > before, "noticing that the broker is back", seconds=5.0)
    assert time.monotonic() - back < 5.0
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0, site.log()


@pytest.mark.needs("mosquitto")
def test_a_second_run_on_the_same_data_is_refused_with_a_sentence(start_mosquitto, processes, free_port):
    broker = start_mosquitto()
    site = processes(broker.port, f"[portal]\nport = {free_port()}\n")
    first = site.start("run")
    wait_for(lambda: "running" in site.log(), "starting")
    second = site.start("run")
    assert second.wait(timeout=30) == 4
    assert "another process runs collect" in site.log()
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=20) == 0
    assert "leaked" not in site.log()  # nothing is said after the last line
