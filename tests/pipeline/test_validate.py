"""Verdicts of the days that were computed again: kept by day, the same in whatever order the days are done."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from monitors import vee_bounds, vee_days
from monitors.intervals import counted
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from pipeline.validate import balance, changed_bounds, rules_of, validate
from tests.pipeline.conftest import ENTERPRISE, KNOWN_FROM

MIDNIGHT = datetime(2024, 12, 31, 16, tzinfo=UTC)  # local 2025-01-01
HOUR = timedelta(hours=1)
TABLES = ("history", "verdicts", "verdict_counts", "day_starts", "balances")


def days_of(keys: Sequence[int], *days: int) -> pl.DataFrame:
    rows = [(key, date(2025, 1, 1) + timedelta(days=day)) for key in keys for day in days]
    return pl.DataFrame(rows, orient="row", schema={"register_key": pl.UInt32, "day": pl.Date})


def judge(site: Site, days: pl.DataFrame) -> None:
    """What the roller does for the days that it computes again."""
    zone, registers, events = site.settings.site.zone, site.register.registers(), site.register.events()
    keys = days["register_key"].unique().to_list()
    for day in days["day"].unique().sort():
        start = MIDNIGHT + (day - date(2025, 1, 1))
        chosen = pl.col("register_key").is_in(keys)
        readings = site.readings().span(keys, start, start + timedelta(days=1), pad=100)
        aside = counted(readings, registers.filter(chosen), events.filter(chosen), zone=zone).set_aside
        own = days.filter(pl.col("day") == day)
        edges = vee_days.day_edges(readings, aside, zone=zone)
        for table, rows in validate(site, readings, aside, edges, registers.filter(chosen), events.filter(chosen), own).items():
            site.derived.replace(table, rows.join(own, on=["register_key", "day"], how="semi"), own)
    balance(site, days)


def settle(site: Site) -> None:
    while Settler(site).once():
        pass
    while Roller(site).once():
        pass


def fill(deliver, days: int) -> None:
    """A furnace and its coal by the hour, with a step back, a value in another unit and a stretch that stands still."""
    value = 1000.0
    for day in range(days):
        rows = []
        for hour in range(24):
            value += 0.0 if day == 8 or (day == 7 and hour > 20) else 10 + hour * 7 % 5 + day
            shown = value - 500 if (day, hour) == (3, 5) else value * 1000 if (day, hour) == (6, 5) else value
            rows += [("E-1", "active_import", MIDNIGHT + timedelta(days=day, hours=hour), shown),
                     ("C-1", "feed", MIDNIGHT + timedelta(days=day, hours=hour), value / 10)]
        deliver(day + 1, rows, received_at=MIDNIGHT + timedelta(days=day + 1))


def tables(site: Site) -> dict[str, str]:
    return {name: digest for name, digest in site.derived.hashes().items() if name in TABLES}


def test_failed_readings_are_kept_with_all_rules_and_the_others_are_counted(site, deliver):
    fill(deliver, 10)
    settle(site)
    judge(site, days_of([1, 2], *range(10)))
    failed = site.derived.read("verdicts", date(2025, 1, 1), date(2025, 1, 10)).collect()
    furnace = site.register.names().filter(meter="E-1")["register_key"].item()
    named = {(row["start"] - MIDNIGHT) // HOUR: set(row["broken_rules"].split()) for row in failed.filter(register_key=furnace).iter_rows(named=True)}
    assert {"step_back", "transient"} <= named[3 * 24 + 5]
    assert {"unit_scale", "jump", "spike"} <= named[6 * 24 + 5]
    assert named[8 * 24 + 23] == {"frozen"}
    assert failed.filter(start=MIDNIGHT + timedelta(days=6, hours=5), register_key=furnace)["unit_factor"].item() == 1000.0
    counts = site.derived.read("verdict_counts", date(2025, 1, 1), date(2025, 1, 10)).collect()
    frozen = counts.filter(rule="frozen", verdict="failed", register_key=furnace)
    assert frozen["readings"].sum() == sum("frozen" in names for names in named.values())
    rating = counts.filter(rule="rating", verdict="unknown", register_key=furnace)
    assert rating["readings"].sum() == 240  # no rating is declared
    starts = site.derived.read("day_starts", date(2025, 1, 1), date(2025, 1, 10)).collect()
    assert starts["verdict"].to_list() == ["passed"] * 20


def test_in_whatever_order_days_are_judged_the_tables_end_up_the_same(site, new_site, deliver, arrive, tmp_path):
    fill(deliver, 10)
    settle(site)
    judge(site, days_of([1, 2], *range(10)))
    other = new_site(tmp_path / "other")
    fill(lambda *given, **named: arrive(other, *given, **named), 10)
    settle(other)
    order = [(key, day) for key in (1, 2) for day in range(10)]
    random.Random(1).shuffle(order)
    for key, day in order:
        judge(other, days_of([key], day))
    for _ in range(20):  # what a day says to later ones
        marked = other.ledger.dirty()
        if marked.is_empty():
            break
        judge(other, marked.select("register_key", "day"))
        other.ledger.clear_dirty(marked)
    assert other.ledger.dirty().is_empty()
    assert tables(other) == tables(site)


def test_a_day_that_changes_marks_only_the_days_that_look_back_to_it(site, deliver):
    fill(deliver, 10)
    settle(site)
    judge(site, days_of([1, 2], *range(10)))
    site.ledger.clear_dirty(site.ledger.dirty())
    judge(site, days_of([1], 0))
    assert site.ledger.dirty().is_empty()  # it says what it said
    deliver(50, [("E-1", "active_import", MIDNIGHT + timedelta(minutes=30), 1012.0)], received_at=MIDNIGHT + timedelta(days=20))
    while Settler(site).once():
        pass
    site.ledger.clear_dirty(site.ledger.dirty())
    furnace = site.register.names().filter(meter="E-1")["register_key"].item()
    judge(site, days_of([furnace], 0))
    # Its greatest step is now 20 an hour; day 7 looks back to day 6 too, which had that already.
    assert site.ledger.dirty().select("register_key", "day").sort("day").equals(days_of([furnace], *range(1, 7)))


def test_the_registers_own_rules_and_balances_count_with_their_dates(site, deliver):
    site.register.apply({
        "rule": pl.DataFrame([
            {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "rule": "range", "high": 1.0, "severity": "info",
             "valid_from": "2025-01-02", "valid_to": "2025-01-03"},
            {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "rule": "energy_per_output", "low": 9.0, "high": 9.5,
             "severity": None, "valid_from": None, "valid_to": None},
        ]),
        "balance": pl.DataFrame([{
            "enterprise": ENTERPRISE, "total_meter": "E-1", "total_register": "active_import", "part_meter": "C-1", "part_register": "feed",
            "kind": "output", "valid_from": "2025-01-02",
        }]),
    }, by="test", known_from=KNOWN_FROM)
    fill(deliver, 3)
    settle(site)
    furnace, coal = (site.register.names().filter(meter=meter)["register_key"].item() for meter in ("E-1", "C-1"))
    judge(site, days_of([coal], 0, 1))  # a part alone brings its total's balance up to date
    rows = site.derived.read("balances", date(2025, 1, 1), date(2025, 1, 3)).collect()
    assert rows.select("register_key", "rule", "day", "verdict", "measure").rows() == [
        (furnace, "energy_per_output", date(2025, 1, 2), "failed", pytest.approx(10.0)),
        (furnace, "energy_per_output", date(2025, 1, 3), "unknown", pytest.approx(10.0)),  # the day is not whole
    ]
    judge(site, days_of([furnace], 0, 1, 2))
    failed = site.derived.read("verdicts", date(2025, 1, 1), date(2025, 1, 3)).filter(pl.col("broken_rules") == "range").collect()
    assert failed.select("day", "severity").unique().rows() == [(date(2025, 1, 2), "info")]
    assert failed.height == 24


def test_a_changed_bound_is_told_with_the_time_in_which_it_holds(site):
    registers = site.register.registers()
    before = vee_bounds.bounds(registers, rules_of(site))
    at = [datetime(2025, 1, day, 16, tzinfo=UTC) for day in (1, 2)]
    row = {"enterprise": ENTERPRISE, "meter": "E-1", "rule": "rating", "high": 2.0, "valid_from": at[0], "valid_to": at[1]}
    site.register.apply({"rule": pl.DataFrame([row])}, by="test", known_from=KNOWN_FROM)
    changed = changed_bounds(before, vee_bounds.bounds(registers, rules_of(site)))
    furnace = site.register.names().filter(meter="E-1")["register_key"].item()
    assert changed["register_key"].unique().to_list() == [furnace]
    assert (at[0], at[1]) in changed.select("start", "end").rows()
    assert changed_bounds(before, before).is_empty()
