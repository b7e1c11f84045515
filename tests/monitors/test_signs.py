"""Signs: seen on the far side of each bound, not on the near side, unknown where something lacks; never a verdict."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import schemas
from config.signs import sign_rules
from monitors import signs

RULES = sign_rules()
TODAY = date(2026, 3, 10)
ZONE = "Asia/Shanghai"
NOBODY = pl.DataFrame(schema={"enterprise": pl.String(), "period": pl.String()})
A = pl.DataFrame({"enterprise": ["A"]})


def daily(first: date, kwh: Sequence[float | None], covered: float = 1.0) -> pl.DataFrame:
    days = [first + timedelta(days=number) for number in range(len(kwh))]
    return pl.DataFrame({"enterprise": "A", "day": days, "electricity_kwh": list(kwh), "covered_ratio": covered}, schema_overrides={
        "enterprise": pl.String(), "electricity_kwh": pl.Float64(), "day": pl.Date(),
    })


def standing(last_load: date, idle_kwh: float | None, *, covered: float = 1.0) -> pl.DataFrame:
    """A month of 1,000 kWh a day until `last_load`, then the same little every day until today."""
    first = last_load - timedelta(days=59)
    return daily(first, [*[1000.0] * 60, *[idle_kwh] * ((TODAY - last_load).days - 1)], covered)


def one(found: pl.DataFrame) -> dict[str, Any]:
    assert found.schema == schemas.SIGN
    assert found.height == 1
    return found.row(0, named=True)


@pytest.mark.parametrize(("last_load", "seen"), [(date(2024, 3, 9), True), (date(2024, 3, 10), False), (date(2024, 3, 8), True)])
def test_two_years_without_load_are_counted_by_the_calendar(last_load: date, seen: bool) -> None:
    found = signs.stopped_plants(standing(last_load, 10.0), A, NOBODY, TODAY, RULES)
    assert (found.height == 1) == seen
    if seen:
        row = one(found)
        assert (row["state"], row["period"]) == ("seen", str(last_load + timedelta(days=1)))
        assert row["evidence"][0] == {
            "figure": "last_day_with_load", "period": str(last_load), "value": 1000.0, "unit": "kWh", "source": "daily consumption",
        }
        assert "内政发〔2019〕21号 art. (五)" in str(row["source"])


@pytest.mark.parametrize(("idle_kwh", "seen"), [(49.9, True), (50.0, True), (50.1, False), (0.0, True), (-50.1, False)])
def test_a_load_is_more_than_a_share_of_the_greatest_month_in_either_direction(idle_kwh: float, seen: bool) -> None:
    worked = pl.DataFrame({"enterprise": ["A"], "period": ["2025"]})
    assert signs.stopped_plants(standing(date(2023, 3, 31), idle_kwh), A, worked, TODAY, RULES).height == seen


def test_a_standing_plant_is_seen_where_nine_days_of_ten_are_known() -> None:
    whole = standing(date(2023, 3, 31), 10.0).with_row_index("n")
    days = (TODAY - date(2023, 4, 1)).days
    for lost, state in ((days // 10, "seen"), (days // 10 + 1, "unknown")):
        partly = whole.with_columns(covered_ratio=pl.when((pl.col("n") >= 60) & (pl.col("n") < 60 + lost)).then(0.899).otherwise(0.9)).drop("n")
        assert one(signs.stopped_plants(partly, A, NOBODY, TODAY, RULES))["state"] == state


def test_a_day_with_load_in_two_years_is_enough() -> None:
    days = standing(date(2023, 3, 31), 10.0).with_columns(
        electricity_kwh=pl.when(pl.col("day") == date(2025, 6, 1)).then(200.0).otherwise("electricity_kwh")
    )
    assert signs.stopped_plants(days, A, NOBODY, TODAY, RULES).is_empty()


@pytest.mark.parametrize(("days", "why"), [
    (standing(date(2023, 3, 31), None), "only 0.0 % of the days since 2023-04-01 are covered"),
    (standing(date(2023, 3, 31), 10.0, covered=0.89), "only 0.0 % of the days since 2023-04-01 are covered"),
    (daily(date(2025, 1, 1), [0.0] * 433), "one steady load or none since the data began on 2025-01-01"),
    (daily(date(2025, 1, 1), [500.0] * 433), "one steady load or none since the data began on 2025-01-01"),
    (daily(date(2025, 1, 1), []), "no electricity is known by day"),
])
def test_what_the_data_do_not_say_is_unknown_and_not_standing(days: pl.DataFrame, why: str) -> None:
    row = one(signs.stopped_plants(days, A, NOBODY, TODAY, RULES))
    assert row["state"] == "unknown"
    assert why in str(row["missing"])
    assert row["missing_zh"]


def test_a_steady_load_with_reported_output_is_no_sign_and_today_does_not_count() -> None:
    worked = pl.DataFrame({"enterprise": ["A"], "period": ["2025"]})
    assert signs.stopped_plants(daily(date(2025, 1, 1), [500.0] * 433), A, worked, TODAY, RULES).is_empty()
    with_today = standing(date(2023, 3, 31), 10.0).vstack(daily(TODAY, [1000.0]))
    assert signs.stopped_plants(with_today, A, NOBODY, TODAY, RULES).height == 1


def verdict(excess_ratio: float | None, verdict: str = "complies", limit: float = 100.0) -> pl.DataFrame:
    excess = None if excess_ratio is None else excess_ratio * abs(limit)
    row = {
        "enterprise": "A", "product": "p", "indicator": "i", "period_start": date(2025, 1, 1), "period_end": date(2025, 12, 31), "verdict": verdict,
        "actual": None if excess is None else limit + excess, "excess": excess, "excess_ratio": excess_ratio, "unit": "kgce/t", "standard": "GB 1",
    }
    return schemas.conform(pl.DataFrame([row], infer_schema_length=None), schemas.VERDICT)


@pytest.mark.parametrize(("ratio", "seen"), [(-0.0201, False), (-0.02, True), (-0.01, True), (0.0, True)])
@pytest.mark.parametrize("limit", [100.0, -100.0])
def test_a_figure_in_the_band_up_to_its_limit_is_a_sign(ratio: float, seen: bool, limit: float) -> None:
    days = daily(date(2025, 11, 1), [100.0] * 51 + [40.0] * 10)
    found = signs.just_under_limit(verdict(ratio, limit=limit), days, TODAY, RULES)
    assert found.height == seen
    if seen:
        row = one(found)
        assert (row["subject"], row["period"], row["state"], row["expected"]) == ("p/i", "2025-01-01/2025-12-31", "seen", limit)
        shown = {line["figure"]: (line["period"], line["value"]) for line in row["evidence"]}
        assert shown["load_of_last_days"] == ("2025-12-22/2025-12-31", 40.0)
        assert shown["load_of_days_before"] == ("2025-11-22/2025-12-21", 100.0)


def test_an_exceeded_limit_is_a_verdict_and_no_sign_and_an_incomplete_one_is_unknown() -> None:
    days = daily(date(2025, 12, 1), [])
    assert signs.just_under_limit(verdict(0.01, "exceeds"), days, TODAY, RULES).is_empty()
    assert one(signs.just_under_limit(verdict(None, "incomplete"), days, TODAY, RULES))["state"] == "unknown"


def hourly(first: date, nights: int, kwh: float, process: str | None = None) -> pl.DataFrame:
    start = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(hours=8)
    hours = [start + timedelta(hours=hour) for hour in range(24 * nights)]
    load = [kwh if (hour % 24 >= 22 or hour % 24 < 6) else 9999.0 for hour in range(24 * nights)]
    return pl.DataFrame({"enterprise": "A", "process": process, "start": hours, "kwh": load}, schema_overrides={
        "start": schemas.INSTANT, "process": pl.String(),
    })


def stop(process: str | None = None) -> pl.DataFrame:
    return pl.DataFrame([{"enterprise": "A", "process": process, "first_day": date(2026, 2, 1), "last_day": date(2026, 2, 10), "document": "D-7"}],
                        schema=schemas.STOP)


@pytest.mark.parametrize(("kwh", "seen"), [(19.9, False), (20.0, False), (20.1, True)])
def test_the_nights_of_a_reported_stop_are_held_against_those_before(kwh: float, seen: bool) -> None:
    hours = hourly(date(2026, 1, 2), 30, 100.0).vstack(hourly(date(2026, 2, 1), 10, kwh)).vstack(hourly(date(2026, 2, 11), 5, 100.0))
    found = signs.night_load(hours, stop(), TODAY, RULES, ZONE)
    assert found.height == seen
    if seen:
        row = one(found)
        assert (row["actual"], row["expected"], row["high"]) == pytest.approx((kwh, 100.0, 20.0))
        assert row["evidence"][0]["source"] == "D-7"
        assert row["evidence"][1]["value"] == 10.0


def test_a_stopped_process_is_asked_of_its_own_meters() -> None:
    furnace = hourly(date(2026, 1, 2), 30, 100.0, "furnace").vstack(hourly(date(2026, 2, 1), 10, 0.0, "furnace"))
    office = hourly(date(2026, 1, 2), 40, 50.0, "office")
    assert signs.night_load(furnace.vstack(office), stop("furnace"), TODAY, RULES, ZONE).is_empty()
    assert one(signs.night_load(furnace.vstack(office), stop(), TODAY, RULES, ZONE))["actual"] == pytest.approx(50.0)


@pytest.mark.parametrize(("hours", "why"), [
    (hourly(date(2026, 1, 2), 30, 100.0), "no hour of a night during the stop"), (hourly(date(2026, 2, 1), 10, 5.0), "no hour of a night before"),
])
def test_a_stop_without_hours_cannot_be_judged(hours: pl.DataFrame, why: str) -> None:
    assert why in str(one(signs.night_load(hours, stop(), TODAY, RULES, ZONE))["missing"])


def test_copied_days_are_those_of_validation_and_what_it_could_not_judge_is_unknown() -> None:
    rows: list[tuple[int, date, str | None, str, int]] = [(1, date(2026, 2, day), "copied_pattern", "failed", 96) for day in (3, 4)]
    rows += [(1, date(2026, 2, 5), None, "passed", 96), (2, date(2026, 2, 5), None, "passed", 96), (2, date(2026, 2, 6), "jump", "failed", 1)]
    rows += [(3, date(2026, 2, day), "copied_pattern", "unknown", 24) for day in (1, 2)]
    counts = pl.DataFrame(rows, orient="row", schema=["register_key", "day", "rule", "verdict", "readings"])
    names = pl.DataFrame({"register_key": [1, 2, 3], "enterprise": "A", "meter": ["M1", "M2", "M3"], "register": "r"})
    found = signs.copied_readings(schemas.conform(counts, schemas.VERDICT_COUNT), names.cast({"register_key": pl.UInt32()}), TODAY, RULES)
    assert {row["subject"]: (row["state"], row["actual"]) for row in found.to_dicts()} == {"M1/r": ("seen", 2.0), None: ("unknown", None)}
    assert found.filter(state="unknown")["missing"].item().endswith("no history: M3/r")
    assert found.filter(subject="M1/r")["evidence"][0][0]["period"] == "2026-02-03/2026-02-04"


def carriers(rows: list[dict[str, object]]) -> pl.DataFrame:
    return schemas.conform(pl.DataFrame([{"enterprise": "A", "carrier": "raw_coal", "flow": "consumed", "use": "fuel"} | row for row in rows],
                                        infer_schema_length=None), schemas.ENERGY)


def outputs(by_month: dict[str, float]) -> pl.DataFrame:
    return pl.DataFrame({
        "enterprise": "A", "product": "p", "line": None, "period": list(by_month), "output": list(by_month.values()), "output_unit": "t",
    }, schema_overrides={"line": pl.String()})


@pytest.mark.parametrize(("tce", "seen"), [(69.9, True), (70.0, False), (130.0, False), (130.1, True)])
def test_a_month_far_from_the_median_in_energy_for_output_is_a_sign(tce: float, seen: bool) -> None:
    months = {f"2025-{month:02d}": 100.0 for month in range(1, 8)}
    used = carriers([{"product": "p", "period": month, "calorific_tce": tce if month == "2025-03" else 100.0} for month in months])
    found = signs.energy_per_output(used, outputs(months), TODAY, RULES)
    assert [row["period"] for row in found.to_dicts()] == (["2025-03"] if seen else [])


def test_output_without_energy_is_a_sign_and_energy_without_output_or_a_part_unknown_is_not_judged() -> None:
    months = {f"2025-{month:02d}": 100.0 for month in range(1, 8)} | {"2025-08": 0.0, "2025-09": 0.0}
    told = dict.fromkeys(months, 100.0) | {"2025-02": 0.0, "2025-09": 0.0}
    rows: list[dict[str, object]] = [{"product": "p", "period": month, "calorific_tce": value} for month, value in told.items()]
    rows.append({"product": "p", "period": "2025-05", "calorific_tce": None, "carrier": "lignite", "missing": "no heating value of lignite"})
    found = {row["period"]: row for row in signs.energy_per_output(carriers(rows), outputs(months), TODAY, RULES).to_dicts()}
    assert {period: row["state"] for period, row in found.items()} == {"2025-02": "seen", "2025-05": "unknown", "2025-08": "unknown"}
    assert found["2025-05"]["missing"] == "no heating value of lignite"
    few, enough = (signs.energy_per_output(carriers(rows[:n]), outputs(dict(list(months.items())[:n])), TODAY, RULES) for n in (3, 4))
    assert few["missing"].unique().to_list() == ["only 3 months are known"]
    assert enough["period"].to_list() == ["2025-02"]


@pytest.mark.parametrize(("value", "seen"), [(49.9, True), (50.0, False), (200.0, False), (200.1, True)])
@pytest.mark.parametrize("rule", ["tax_per_energy", "output_value_per_energy"])
def test_tax_and_output_value_for_a_tce_are_held_against_the_year_before(value: float, seen: bool, rule: signs.Money) -> None:
    years = pl.DataFrame({"enterprise": "A", "period": ["2024", "2025", "2025-01"], "calorific_tce": [10.0, 10.0, 1.0], "missing": None},
                         schema_overrides={"missing": pl.String()})
    told = pl.DataFrame({"enterprise": "A", "period": ["2024", "2025"], "value": [100.0, value]})
    found = signs.money_per_energy(rule, years, told, TODAY, RULES)
    assert found.height == seen
    if seen:
        assert (one(found)["actual"], one(found)["expected"]) == (value / 10, 10.0)
    lacking = one(signs.money_per_energy(rule, years, told.head(1), TODAY, RULES))
    assert (lacking["state"], lacking["period"], lacking["missing"]) == ("unknown", "2025", "no figure is reported for the year")


def test_bills_beyond_the_tolerance_are_signs_with_its_source() -> None:
    rows: list[dict[str, object]] = [
        {"period": "2026-01", "metered_quantity": 105.0, "within": True}, {"period": "2026-02", "metered_quantity": 106.0, "within": False},
        {"period": "2026-03", "metered_quantity": None, "within": None, "missing": "no metered quantity"},
        {"period": "2026-02", "metered_quantity": 200.0, "within": False, "kind": "weighbridge"},
    ]
    shared: dict[str, object] = {
        "enterprise": "A", "carrier": "electricity", "flow": "consumed", "kind": "bill", "figure_quantity": 100.0, "tolerance_ratio": 0.05,
        "tolerance_source": "a rule", "unit": "kWh",
    }
    table = pl.DataFrame([shared | row for row in rows], infer_schema_length=None)
    found = signs.energy_against_bills(schemas.conform(table, schemas.RECONCILIATION))
    assert [(row["period"], row["state"], row["low"], row["high"], row["source"]) for row in found.to_dicts()] == [
        ("2026-02", "seen", 95.0, 105.0, "a rule"), ("2026-03", "unknown", 95.0, 105.0, "a rule"),
    ]


@pytest.mark.parametrize(("power", "seen"), [(4.9, True), (5.0, False), (10.0, False), (10.1, True)])
def test_power_and_steam_of_a_boiler_house_fit_its_coal(power: float, seen: bool) -> None:
    rows = carriers([
        {"period": "2025-01", "process": "boiler", "calorific_tce": 25.0},
        {"period": "2025-01", "process": "boiler", "carrier": "heat", "flow": "converted_out", "calorific_tce": power},
        {"period": "2025-01", "process": "boiler", "carrier": "electricity", "flow": "converted_out", "calorific_tce": power * 1.5},
        {"period": "2025-01", "process": "kiln", "calorific_tce": 1000.0},
    ])
    bounds = RULES.with_columns(value=pl.when(pl.col("bound") == "low_ratio").then(0.5).otherwise("value"))
    found = signs.power_and_steam_per_fuel(rows, TODAY, bounds)
    assert found.height == seen
    if seen:
        assert (one(found)["subject"], one(found)["low"], one(found)["high"]) == ("boiler", 0.5, 1.0)


def test_where_fuel_is_not_assigned_to_the_process_only_more_out_than_in_is_a_sign() -> None:
    def month(out: float, fuel: float | None) -> pl.DataFrame:
        return signs.power_and_steam_per_fuel(carriers([
            {"period": "2025-01", "calorific_tce": fuel, "missing": None if fuel is not None else "no heating value"},
            {"period": "2025-01", "process": "boiler", "carrier": "heat", "flow": "converted_out", "calorific_tce": out},
        ]), TODAY, RULES)

    assert month(1.0, 100.0).is_empty()
    assert month(100.0, 100.0).is_empty()
    assert one(month(100.1, 100.0))["state"] == "seen"
    assert one(month(1.0, None))["missing"] == "no heating value"


def test_a_rule_is_asked_only_while_all_its_bounds_are_in_force() -> None:
    assert signs.bounds_of(RULES, "night_load", date(2019, 12, 30)) is None
    assert signs.bounds_of(RULES, "night_load", date(2019, 12, 31)) is not None
    own = pl.concat([RULES, RULES.filter(bound="years_at_least").with_columns(value=3.0, valid_from=date(2025, 1, 1), source=pl.lit("site's own"))])
    held = signs.bounds_of(own, "stopped_plant", TODAY)
    assert held is not None
    assert held.values["years_at_least"] == 3.0
    assert "site's own" in held.source
    assert signs.stopped_plants(standing(date(2024, 3, 1), 10.0), A, NOBODY, TODAY, own).is_empty()


def test_every_rule_that_has_bounds_is_one_and_each_row_says_where_it_comes_from() -> None:
    assert set(RULES["rule"]) == set(signs.RULES) - {"energy_against_bills"}
    assert (RULES["source"].str.len_chars() >= 8).all()
    assert RULES["valid_from"].null_count() == 0
    assert RULES.select("rule", "bound").is_unique().all()


ROWS = st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 12), st.sampled_from(["seen", "unknown"]), st.sampled_from(["x", "y"]))


@given(st.lists(ROWS, max_size=20))
def test_gathering_keeps_every_seen_sign_and_every_reason(rows: list[tuple[str, int, str, str]]) -> None:
    table = pl.DataFrame([
        {"enterprise": who, "rule": "r", "period": f"2025-{month:02d}", "state": state, "missing": why if state == "unknown" else None}
        for who, month, state, why in rows
    ], schema={"enterprise": pl.String(), "rule": pl.String(), "period": pl.String(), "state": pl.String(), "missing": pl.String()})
    whole = schemas.conform(table, schemas.SIGN)
    found = signs.gathered(whole)
    assert found.filter(state="seen").height == whole.filter(state="seen").height
    reasons = whole.filter(state="unknown").select("enterprise", "missing").unique()
    assert found.filter(state="unknown").select("enterprise", "missing").unique().height == reasons.height == found.filter(state="unknown").height
