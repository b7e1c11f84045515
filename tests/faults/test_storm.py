"""Faults of every kind, one after the other, in an order that a seed decides: a minute here, an hour in `make soak`."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import Plant, check
from tests.faults.nemesis import Nemesis, Proxy, close_gaps

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "20261121"))
PER_SECOND = float(os.environ.get("SOAK_RATE", "40"))
MOST_MB = 600


def most_memory_mb(plant: Plant) -> dict[str, float]:
    """By service: the most that its present process has held."""
    status = {name: Path(f"/proc/{process.pid}/status").read_text() for name, process in plant.running.items()}
    return {name: int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024 for name, text in status.items()}


@pytest.mark.slow
@pytest.mark.needs("mosquitto", "influxd")
def test_whatever_breaks_in_whatever_order_both_balances_close_in_the_end(start_mosquitto, own_influx, plant, fleet):
    broker = start_mosquitto("persistence true", "autosave_on_changes true", "autosave_interval 1000")
    proxy = Proxy(broker.port)
    try:
        works, gateways = plant(proxy.port, influx=own_influx), fleet(broker.port, per_second=PER_SECOND)
        works.start("settle")
        works.connected("collect")
        gateways.flow()
        nemesis = Nemesis(SEED, works, gateways, broker, proxy, own_influx)
        nemesis.go_on_for(SECONDS)
        gateways.pause()
        by_hand = close_gaps(works, gateways, patience_s=60.0, seconds=300)
        memory_mb = most_memory_mb(works)
        works.stop()
        found = check(works, gateways, undisturbed=False)
    finally:
        proxy.close()
    told = f"seed {SEED}, {SECONDS:g} s: {dict(Counter(nemesis.done))}; {found.totals}; most memory {memory_mb} MB; "
    told += f"sent from the history {gateways.backfilled}, by hand {by_hand}; wrong: {found.wrong or 'nothing'}"
    print(told)
    assert found.wrong == (), told
    assert max(memory_mb.values()) <= MOST_MB, told
