"""What real meters never do all at once, in any order of arrival: the tables that live days leave are those of one rebuild.

TCEWATCH_ARRIVALS: how many random cases are lived through (make test: few).
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.rebuild import rebuilt
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from store.journal import HISTORY, LIVE

ENTERPRISE = "91159901MA0EXAMP4N"
METERS = ("W-1", "W-2")
START = datetime(2025, 3, 3, 16, tzinfo=UTC)
RECEIVED = datetime(2025, 9, 1, tzinfo=UTC)
CASES = int(os.environ.get("TCEWATCH_ARRIVALS", "4"))
FIRST_CASE = int(os.environ.get("TCEWATCH_FIRST_ARRIVAL", "0"))
TURNS = 5  # of the services, while readings arrive
Given = tuple[str, str, datetime, float]


@dataclass
class Case:
    """Registers, their readings and what is declared about them, all drawn from one seed."""

    random: random.Random

    def register_rows(self, meter: str) -> list[dict[str, Any]]:
        draw = self.random
        kind = draw.choice(["cumulative"] * 6 + ["interval", "rate"])
        cumulative: dict[str, Any] = {
            "modulus": draw.choice([None, 1000.0]), "net": draw.random() < 0.1 or None, "resolution": draw.choice([None, 0.01]),
        } if kind == "cumulative" else {}
        row = {
            "enterprise": ENTERPRISE, "meter": meter, "register": "main", "unit": "kW" if kind == "rate" else "kWh", "kind": kind,
            "stamp": draw.choice(["start", "end"]) if kind == "interval" else None, "max_rate_per_h": draw.choice([None, 30.0]), **cumulative,
        }
        turn = (START + timedelta(days=draw.randrange(1, 40), hours=draw.randrange(24))).isoformat()
        if draw.random() < 0.5:
            return [row]
        later = {"multiplier": draw.choice([1.0, 40.0]), "range_high": draw.choice([None, 900.0])}
        return [{**row, "valid_to": turn}, {**row, "valid_from": turn, **later}]

    def readings(self, meter: str) -> list[Given]:
        """A register with false values for readings or days, wraps, resets, standstill, gaps and copies that contradict each other."""
        draw, now, found = self.random, START + timedelta(seconds=self.random.randrange(86_400)), []
        total, modulus = draw.choice([0.0, 50.0, 990.0]), draw.choice([None, 1000.0])
        spacings = draw.choice([[3600], [900] * 9 + [60, 7200, 100_000], [20_000, 40_000, 86_400], [7200] * 20 + [400_000, 3_000_000]])
        false, lasts = 0.0, 0
        for _ in range(draw.choice([8, 20, 60])):
            now += timedelta(seconds=draw.choice(spacings))
            total += draw.choice([0.0, 1.0, 2.3, 0.7]) * (draw.random() < 0.9)
            if draw.random() < 0.02:
                total = 0.0
            if lasts == 0 and draw.random() < 0.08:
                false, lasts = draw.choice([0.0, 1000.0, -3.0, -0.005, total / 2, -total, 2.0, 40.0]), draw.choice([1, 1, 2, 5, 20])
            value = total + false if lasts else total
            lasts = max(0, lasts - 1)
            found.append((meter, "main", now, round(value % modulus if modulus else value, 3)))
            if draw.random() < 0.05:
                found.append((meter, "main", now, round(found[-1][3] + draw.choice([0, 1, -50]), 3)))
        return found

    def event(self, meter: str) -> dict[str, Any]:
        draw = self.random
        at = START + timedelta(minutes=draw.randrange(draw.choice([5, 50]) * 24 * 60))
        return {"enterprise": ENTERPRISE, "meter": meter, "register": "main", "at": at.isoformat(), **draw.choice([
            {"event": "reset"}, {"event": "change", "closing_value": 500.0, "opening_value": 0.0}, {"event": "rollover"},
            {"event": "multiplier", "multiplier": 3.0}, {"event": "reset", "opening_value": 5.0}, {"event": "change", "closing_value": 70.0},
        ])}

    def messages(self, given: list[Given]) -> Iterator[list[Given]]:
        """The readings as messages: in order, or parts of them late, or all mixed."""
        draw = self.random
        order = draw.choice(["straight", "late", "mixed"])
        if order == "mixed":
            draw.shuffle(given)
        else:
            given.sort(key=lambda reading: reading[2])
            if order == "late":
                late = [reading for reading in given if draw.random() < 0.2]
                given = [reading for reading in given if reading not in late] + late
        sizes = draw.choice([[3], [1, 20], [60]])
        while given:
            size = draw.choice(sizes)
            yield given[:size]
            given = given[size:]


@pytest.mark.parametrize("seed", range(FIRST_CASE, FIRST_CASE + CASES))
def test_in_whatever_order_wild_readings_arrive_live_equals_rebuilt(
    new_site: Callable[[Path], Site], tmp_path: Path, arrive: Callable[..., int], seed: int,
) -> None:
    site, case, now = new_site(tmp_path), Case(random.Random(seed)), RECEIVED

    def apply(table: str, rows: list[dict[str, Any]]) -> None:
        site.register.apply({table: pl.DataFrame(rows, infer_schema_length=None)}, by="test", known_from=now)

    def roll() -> None:
        while Settler(site).once():
            pass
        while Roller(site).once():
            pass

    apply("meter", [{"enterprise": ENTERPRISE, "gateway": "GW-01", "meter": meter, "medium": "electricity"} for meter in METERS])
    apply("register", [row for meter in METERS for row in case.register_rows(meter)])
    messages = list(case.messages([reading for meter in METERS for reading in case.readings(meter)]))
    turns = case.random.sample(range(len(messages)), min(TURNS, len(messages)))
    declared = case.random.sample(range(len(messages)), case.random.randrange(min(3, len(messages))))
    for number, readings in enumerate(messages):
        now += timedelta(minutes=1)
        arrive(site, number + 1, readings, received_at=now, lane=case.random.choice([LIVE, LIVE, HISTORY]))
        if number in declared:
            apply("event", [case.event(case.random.choice(METERS))])
        if number in turns:
            roll()
    roll()
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    live, again = site.derived.hashes(), shadow.derived.hashes()
    shadow.readings().close()
    assert live == again
