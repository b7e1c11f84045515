"""The demo as its users run it: alone, and on real servers."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

TCEWATCH = Path(sys.executable).with_name("tcewatch")
CARBIDE, FERROALLOY = "91159901MA0EXAMP4N", "91159901MA0EXAMP5R"


def demo(*words: str, seconds: int, **environment: str) -> dict[str, dict[str, int]]:
    command = [TCEWATCH, "demo", "--seconds", str(seconds), "--no-browser", "--json", "--port", "0", *words]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def assert_balanced(said) -> None:
    messages, readings = said["messages"], said["readings"]
    assert messages["published"] == messages["received"] + messages["missing"]
    assert messages["received"] == messages["decoded"] + messages["undecodable"]
    assert readings["decoded"] == readings["stored"] + readings["duplicate"] + readings["conflicting"] + readings["rejected"]


@pytest.mark.slow
@pytest.mark.enable_socket
def test_the_demo_ends_by_itself_with_closed_balances_and_every_planted_event():
    began = time.monotonic()
    said = demo(seconds=20)
    assert time.monotonic() - began < 180
    assert_balanced(said)
    assert said["messages"]["missing"] == 0  # the gap was filled
    assert said["messages"]["undecodable"] == 1  # the poison message
    assert said["readings"]["conflicting"] > 900  # two devices of the capture share an id
    assert said["readings"]["duplicate"] > 0
    assert said["readings"]["rejected"] > 3
    verdicts = {(row["enterprise"], row["closed"]): row for row in said["verdicts"]}
    assert verdicts[CARBIDE, True]["verdict"] == "exceeds"
    assert verdicts[CARBIDE, True]["standing"] == "binding"
    assert -0.05 < verdicts[FERROALLOY, True]["excess_ratio"] < 0
    assert [case["enterprise"] for case in said["cases"]] == [CARBIDE]
    assert said["cases"][0]["state"] == "suspected"
    assert {alert["rule"] for alert in said["alerts"]} == {
        "near-limit", "above-limit", "forecast-near-limit", "forecast-above-limit", "budget-missed",
    }


@pytest.mark.slow
@pytest.mark.needs("mosquitto", "influxd")
def test_the_demo_runs_the_same_on_a_real_broker_and_a_real_influxdb(start_mosquitto, influx):
    broker = start_mosquitto()
    said = demo(
        "--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--influxdb", influx.url, "--influxdb-org", influx.org, "--influxdb-bucket", influx.bucket,
        seconds=20, TCEWATCH_STORE__INFLUXDB__TOKEN=influx.token,
    )
    assert_balanced(said)
    assert said["messages"]["missing"] == 0
    assert len(said["cases"]) == 1
