"""Registers against each other, days against months and midnight: each rule on both sides of its bound, and what cannot be judged."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from config import data_rules
from config.schemas import BALANCE, INTERVAL, READING, REGISTER, SET_ASIDE, VEE_RULE, conform, empty
from monitors import vee_days, vee_periods

ZONE = "Asia/Shanghai"
MIDNIGHT = datetime(2025, 2, 28, 16, tzinfo=UTC)  # 1 March in Shanghai
DAY = timedelta(days=1)
SHIPPED = data_rules.vee_rules()


def registers(*units: str, **given: Any) -> pl.DataFrame:
    row = {"enterprise": "E", "register": "main", "medium": "electricity", "kind": "cumulative", "multiplier": 1.0, "resolution": 0.001} | given
    return conform(pl.DataFrame([row | {"register_key": key, "meter": f"m{key}", "unit": unit} for key, unit in enumerate(units, start=1)]), REGISTER)


def balance(kind: str, total: int, *parts: int, **dates: Any) -> pl.DataFrame:
    return conform(pl.DataFrame([{"total_key": total, "part_key": part, "kind": kind} | dates for part in parts]), BALANCE)


def shown(rows: Mapping[tuple[int, datetime], float]) -> pl.DataFrame:
    frame = pl.DataFrame([(key, at, value) for (key, at), value in rows.items()], orient="row", schema={
        "register_key": pl.UInt32, "read_at": pl.Datetime("us", "UTC"), "value": pl.Float64,
    })
    return conform(frame.with_columns(copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len())), READING)


def day_starts(readings: pl.DataFrame, aside: pl.DataFrame, declared: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    return vee_periods.day_starts(vee_days.day_edges(readings, aside, zone=ZONE), declared, rules, zone=ZONE)


def daily(*quantities: float | None, covered: float = 1.0, days: int = 1) -> pl.DataFrame:
    """The same day's consumption of registers 1, 2, ... on some days."""
    rows = [
        {"register_key": key, "start": MIDNIGHT + DAY * day, "end": MIDNIGHT + DAY * (day + 1), "quantity": quantity, "covered_ratio": covered}
        for key, quantity in enumerate(quantities, start=1) for day in range(days) if quantity is not None
    ]
    return conform(pl.DataFrame(rows), INTERVAL)


def own(rule: str, **given: Any) -> pl.DataFrame:
    return pl.concat([SHIPPED, conform(pl.DataFrame([{"enterprise": "E", "rule": rule} | given]), VEE_RULE)])


def verdict(rows: pl.DataFrame) -> tuple[str, float | None, str | None]:
    row = rows.row(0, named=True)
    assert rows.height == 1
    return row["verdict"], row["measure"], row["missing"]


@pytest.mark.parametrize(("parts", "said"), [
    ((60.0, 40.002), "passed"), ((60.0, 40.003), "failed"), ((59.998, 40.0), "passed"), ((59.997, 40.0), "failed"),
])
def test_tariff_registers_add_up_to_the_total_within_two_steps(parts: tuple[float, float], said: str) -> None:
    readings = shown({(1, MIDNIGHT): 100.0, (2, MIDNIGHT): parts[0], (3, MIDNIGHT): parts[1]})
    rows = vee_periods.tariff_sums(readings, registers("kWh", "kWh", "kWh"), balance("tariff", 1, 2, 3), SHIPPED, zone=ZONE)
    assert verdict(rows)[0] == said
    assert rows.select("expected", "checked", "broken").row(0) == (100.0, 1, int(said == "failed"))
    assert rows["actual"].item() == pytest.approx(sum(parts))


def test_tariff_registers_are_compared_where_all_of_them_were_read() -> None:
    later = MIDNIGHT + timedelta(hours=1)
    readings = shown({(1, MIDNIGHT): 100.0, (2, MIDNIGHT): 100.0, (1, later): 110.0, (2, later): 50.0, (3, later): 50.0})
    rows = vee_periods.tariff_sums(readings, registers("kWh", "kWh", "kWh"), balance("tariff", 1, 2, 3), SHIPPED, zone=ZONE)
    assert rows.select("verdict", "checked", "broken", "actual", "expected").row(0) == ("failed", 1, 1, 100.0, 110.0)
    alone = vee_periods.tariff_sums(readings.head(2), registers("kWh", "kWh", "kWh"), balance("tariff", 1, 2, 3), SHIPPED, zone=ZONE)
    assert verdict(alone) == ("unknown", None, "part")
    coarse = vee_periods.tariff_sums(readings, registers("kWh", "kWh", "kWh", resolution=None), balance("tariff", 1, 2, 3), SHIPPED, zone=ZONE)
    assert verdict(coarse)[0::2] == ("unknown", "resolution")


@pytest.mark.parametrize(("parts", "said"), [((60.0, 42.0), "passed"), ((60.0, 42.1), "failed"), ((1.0, 1.0), "passed")])
def test_sub_meters_stay_below_their_main_meter(parts: tuple[float, float], said: str) -> None:
    rows = vee_periods.day_sums(daily(100.0, *parts), registers("kWh", "kWh", "kWh"), balance("sub_meter", 1, 2, 3), SHIPPED)
    assert verdict(rows)[0] == said
    assert rows["measure"].item() == pytest.approx(sum(parts) / 100)
    whole = vee_periods.day_sums(daily(100.0, *parts), registers("kWh", "kWh", "kWh"), balance("sub_meter", 1, 2, 3), own("sub_meter", low=0.5))
    assert verdict(whole)[0] == ("failed" if sum(parts) < 50 or said == "failed" else "passed")


def test_sub_meters_are_compared_in_one_unit() -> None:
    pairs = balance("sub_meter", 1, 2)
    assert verdict(vee_periods.day_sums(daily(100.0, 0.05), registers("kWh", "MWh"), pairs, SHIPPED))[:2] == ("passed", 0.5)
    assert verdict(vee_periods.day_sums(daily(100.0, 50.0), registers("kWh", "m3"), pairs, SHIPPED))[0::2] == ("unknown", "unit")


def test_what_is_not_known_of_a_day_is_not_compared() -> None:
    pairs, two = balance("sub_meter", 1, 2), registers("kWh", "kWh")
    assert verdict(vee_periods.day_sums(daily(100.0, None), two, pairs, SHIPPED))[0::2] == ("unknown", "part")
    assert verdict(vee_periods.day_sums(daily(100.0, 200.0, covered=0.98), two, pairs, SHIPPED))[0::2] == ("unknown", "coverage")
    assert verdict(vee_periods.day_sums(daily(100.0, 200.0, covered=0.99), two, pairs, SHIPPED))[0] == "failed"
    assert verdict(vee_periods.day_sums(daily(0.0, 0.0), two, pairs, SHIPPED))[0] == "passed"  # nothing ran
    assert verdict(vee_periods.day_sums(daily(0.0, 1.0), two, pairs, SHIPPED))[0] == "failed"


def test_a_balance_holds_between_its_dates() -> None:
    pairs = balance("sub_meter", 1, 2, valid_from=MIDNIGHT + DAY, valid_to=MIDNIGHT + 3 * DAY)
    rows = vee_periods.day_sums(daily(1.0, 2.0, days=5), registers("kWh", "kWh"), pairs, SHIPPED)
    assert rows["start"].to_list() == [MIDNIGHT + DAY, MIDNIGHT + 2 * DAY]
    assert rows["verdict"].to_list() == ["failed", "failed"]


@pytest.mark.parametrize(("output", "said"), [(10.0, "passed"), (9.9, "failed"), (20.0, "passed"), (20.1, "failed")])
def test_energy_against_production_stays_in_its_band(output: float, said: str) -> None:
    pairs, rules = balance("output", 1, 2), own("energy_per_output", meter="m1", register="main", low=5.0, high=10.0)
    assert verdict(vee_periods.day_sums(daily(100.0, output), registers("kWh", "t"), pairs, rules))[:2] == (said, 100.0 / output)


def test_without_a_band_or_an_output_energy_against_production_is_unknown() -> None:
    pairs, rules = balance("output", 1, 2), own("energy_per_output", low=5.0, high=10.0)
    assert verdict(vee_periods.day_sums(daily(100.0, 5.0), registers("kWh", "t"), pairs, SHIPPED))[0::2] == ("unknown", "bound")
    assert verdict(vee_periods.day_sums(daily(100.0, 0.0), registers("kWh", "t"), pairs, rules))[0::2] == ("unknown", "output")
    assert verdict(vee_periods.day_sums(daily(0.0, 0.0), registers("kWh", "t"), pairs, rules))[0] == "passed"


@pytest.mark.parametrize(("figure", "said"), [
    (300.0, "passed"), (310 / 1.05, "passed"), (310 / 1.0501, "failed"), (310 / 0.95, "passed"), (310 / 0.9499, "failed"),
])
def test_days_add_up_to_the_month_within_five_percent(figure: float, said: str) -> None:
    figures = pl.DataFrame({"register_key": [1], "period": ["2025-03"], "quantity": [figure]}, schema_overrides={"register_key": pl.UInt32})
    rows = vee_periods.month_sums(daily(10.0, days=40), registers("kWh"), figures, SHIPPED, zone=ZONE)
    assert verdict(rows)[0] == said
    assert rows.select("actual", "start", "end", "checked").row(0) == (310.0, MIDNIGHT, MIDNIGHT + 31 * DAY, 31)


def test_a_month_without_days_is_unknown() -> None:
    figures = pl.DataFrame({"register_key": [1], "period": ["2025-06"], "quantity": [5.0]}, schema_overrides={"register_key": pl.UInt32})
    assert verdict(vee_periods.month_sums(daily(10.0), registers("kWh"), figures, SHIPPED, zone=ZONE)) == ("unknown", None, "readings")


@pytest.mark.parametrize(("off_s", "said"), [(60, "passed"), (-60, "passed"), (61, "failed"), (-61, "failed"), (0, "passed")])
def test_a_day_s_readings_start_within_a_minute_of_midnight(off_s: int, said: str) -> None:
    noon = MIDNIGHT + timedelta(hours=12)
    readings = shown({(1, MIDNIGHT + timedelta(seconds=off_s)): 1.0, (1, noon): 2.0})
    rows = day_starts(readings, empty(SET_ASIDE), registers("kWh"), SHIPPED).filter(pl.col("start") == MIDNIGHT)
    assert verdict(rows)[:2] == (said, abs(off_s))


def test_a_reading_that_does_not_count_starts_no_day() -> None:
    readings = shown({(1, MIDNIGHT): float("nan"), (1, MIDNIGHT + timedelta(hours=2)): 2.0})
    aside = conform(readings.head(1).with_columns(broken_rules=pl.lit(["not_finite"])), SET_ASIDE)
    rows = day_starts(readings, aside, registers("kWh"), SHIPPED)
    assert verdict(rows)[:2] == ("failed", 7200.0)


def test_a_rule_that_is_switched_off_says_nothing() -> None:
    readings = shown({(1, MIDNIGHT + timedelta(hours=2)): 2.0})
    assert day_starts(readings, empty(SET_ASIDE), registers("kWh"), own("day_start", enabled=False)).is_empty()
    assert vee_periods.day_sums(daily(1.0, 2.0), registers("kWh", "kWh"), balance("sub_meter", 1, 2), own("sub_meter", enabled=False)).is_empty()


@pytest.mark.needs("shared-data")
def test_captured_meters_whose_tariffs_do_not_add_up_are_told(shared_data: Path) -> None:
    packed = (shared_data / "mqtt-kpm33b" / "MQTT_ENY_NOW_20260112_lines0001-1400.log.zst").read_bytes()
    content = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read()
    messages = [json.loads(line.split(" ", 1)[1]) for line in content.decode().splitlines()]
    names = ("zygsz", "zyjsz", "zyfsz", "zypsz", "zyvsz", "zydvsz")
    off = [abs(round(1000 * message["zygsz"]) - sum(round(1000 * message[name]) for name in names[1:])) for message in messages]
    # Each message as a meter of its own, so that the copies of a slot are not taken for one another.
    readings = shown({(place * 6 + nth + 1, MIDNIGHT): message[name] for place, message in enumerate(messages) for nth, name in enumerate(names)})
    pairs = pl.concat([balance("tariff", place * 6 + 1, *(place * 6 + nth + 1 for nth in range(1, 6))) for place in range(len(messages))])
    rows = vee_periods.tariff_sums(readings, registers(*["kWh"] * 6 * len(messages)), pairs, SHIPPED, zone=ZONE)
    assert rows.sort("register_key")["measure"].round(6).to_list() == off
    # Two steps of the resolution are rounding; three are not. Binary fractions make some of the 259 at exactly 0.002 look like more.
    assert rows.filter(verdict="failed").height == sum(steps > 2 for steps in off) == 31
    assert sum(steps >= 2 for steps in off) == 290
