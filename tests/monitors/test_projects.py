"""Projects: each state from its days, the balance of a quota, the design against the advanced level, and the energy that is coming."""

import re
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import key_units as law
from config import schemas
from config.calendar import period_days
from monitors.projects import expected_energy, project_states

ON = date(2026, 6, 1)
REGIONS = pl.DataFrame({"park": ["P"], "region": ["150900"]})
LIMITS = schemas.conform(pl.DataFrame([
    {"product": "carbide", "indicator": "comprehensive_energy", "standard": "GB 21343-2023", "basis": "calorific", "unit": "kgce/t", "level_1": 805.0,
     "level_2": 823.0, "level_3": 940.0, "effective_from": date(2024, 12, 1), "effective_to": None, "corrections_complete": True,
     "confidence": "medium", "source": "a transcription", "edition": "2023"},
    {"product": "glass", "indicator": "comprehensive_energy", "standard": "GB 21340-2019", "basis": "calorific", "unit": "kgce/t", "level_1": None,
     "level_2": 10.0, "level_3": 12.0, "effective_from": date(2020, 1, 1), "effective_to": None, "corrections_complete": True,
     "confidence": "medium", "source": "a transcription", "edition": "2019"},
], infer_schema_length=None), schemas.LIMIT)
PLANNED = {
    "project": "p", "enterprise": "e", "park": "P", "product": "carbide", "design_value": 800.0, "design_unit": "kgce/t",
    "approved_on": date(2025, 3, 1), "approved_calorific_tce": 36_500.0, "approved_equivalent_tce": 73_000.0, "start_by": date(2026, 12, 31),
    "planned_operation_on": date(2027, 7, 1),
}


def states(*rows: dict[str, Any], quotas: pl.DataFrame | None = None, on: date = ON, regions: pl.DataFrame = REGIONS) -> list[dict[str, Any]]:
    frame = pl.DataFrame([PLANNED | row for row in rows], infer_schema_length=None)
    found = project_states(frame, moved() if quotas is None else quotas, LIMITS, law.entry_conditions(), regions, on)
    assert found.schema == schemas.PROJECT_STATE
    return found.to_dicts()


def moved(*rows: tuple[str, float, date]) -> pl.DataFrame:
    return pl.DataFrame([("p", day, kind, "a document", tce) for kind, tce, day in rows], orient="row", schema=schemas.QUOTA)


@pytest.mark.parametrize(("row", "state"), [
    ({"approved_on": None}, "not_approved"), ({"approved_on": ON + timedelta(1)}, "not_approved"), ({"approved_on": ON}, "approved"),
    ({"start_by": ON}, "approved"), ({"start_by": ON - timedelta(1)}, "overdue"), ({"start_by": None}, "approved"),
    ({"start_by": ON - timedelta(1), "started_on": ON + timedelta(1)}, "overdue"), ({"start_by": ON - timedelta(9), "started_on": ON}, "building"),
    ({"started_on": ON, "operating_from": ON}, "operating"), ({"operating_from": ON + timedelta(1), "started_on": ON}, "building"),
    ({"operating_from": ON, "ended_on": ON}, "ended"), ({"ended_on": ON + timedelta(1)}, "approved"),
])
def test_the_state_follows_from_the_days(row: dict[str, Any], state: str) -> None:
    assert states(row)[0]["state"] == state


def test_a_quota_is_what_was_granted_less_used_and_reclaimed_until_the_day() -> None:
    quota = moved(("granted", 36_500.0, date(2025, 3, 1)), ("reclaimed", 6_500.0, ON), ("used", 5_000.0, ON), ("used", 1.0, ON + timedelta(1)))
    (row,) = states({}, quotas=quota)
    assert [row[f"{name}_tce"] for name in ("granted", "used", "reclaimed", "remaining")] == [36_500.0, 5_000.0, 6_500.0, 25_000.0]
    assert row["missing"] is None


def test_more_used_than_granted_is_told_and_without_a_grant_nothing_remains_known() -> None:
    (row,) = states({}, quotas=moved(("granted", 100.0, ON), ("used", 101.5, ON)))
    assert (row["remaining_tce"], row["missing"]) == (-1.5, "used and reclaimed are 1.5 tce above what was granted")
    assert row["missing_zh"] == "已用与收回之和超出授予 1.5 tce"
    (empty,) = states({})
    assert (empty["remaining_tce"], empty["missing"]) == (None, "no grant of quota is entered")


@pytest.mark.parametrize(("row", "left", "due"), [
    ({"start_by": ON - timedelta(1)}, 10.0, True), ({"start_by": ON}, 10.0, False), ({"start_by": ON - timedelta(1)}, 0.0, False),
    ({"start_by": ON - timedelta(1), "started_on": ON}, 10.0, False),
])
def test_quota_of_what_was_not_begun_in_time_is_a_sign_while_some_is_left(row: dict[str, Any], left: float, due: bool) -> None:
    quota = moved(("granted", 100.0, ON), ("reclaimed", 100.0 - left, ON) if left < 100 else ("used", 0.0, ON))
    assert states(row, quotas=quota)[0]["reclaim_due"] is due


@pytest.mark.parametrize(("value", "unit", "advanced"), [
    (804.999, "kgce/t", True), (805.0, "kgce/t", True), (805.001, "kgce/t", False),
    (0.805, "tce/t", True), (0.8051, "tce/t", False), (2_000.0, "kgce/t", False),
])
def test_a_design_is_advanced_up_to_level_1_included(value: float, unit: str, advanced: bool) -> None:
    (row,) = states({"design_value": value, "design_unit": unit})
    assert (row["advanced"], row["meets_required"], row["required_level"]) == (advanced, advanced, 1)
    assert row["level_1"] == 805.0
    assert "内政发〔2019〕21号 art. (七)" in row["required_by"]


@pytest.mark.parametrize(("row", "why"), [
    ({"product": None}, "no product named"), ({"design_value": None, "design_unit": None}, "no design consumption"),
    ({"product": "gold"}, "'gold' is in no limit table"), ({"design_unit": "kWh/t"}, "kWh/t cannot be held against kgce/t"),
    ({"approved_on": date(2024, 11, 30)}, "no edition with rows of carbide is in force"),
    ({"product": "glass", "design_value": 9.0}, "no level 1"),
])
def test_a_design_that_cannot_be_judged_says_why(row: dict[str, Any], why: str) -> None:
    (found,) = states(row, quotas=moved(("granted", 1.0, ON)))
    assert (found["advanced"], found["meets_required"]) == (None, None)
    assert why in found["missing"]
    assert not re.search("[a-z]{3,} [a-z]{2,}", found["missing_zh"])


def test_the_edition_is_that_of_the_day_of_approval() -> None:
    assert states({"approved_on": date(2024, 12, 1)})[0]["standard"] == "GB 21343-2023"
    assert states({"approved_on": None})[0]["level_1"] == 805.0  # not approved yet: today's


def test_only_a_sector_and_a_region_that_a_document_names_must_be_advanced() -> None:
    (elsewhere,) = states({}, regions=pl.DataFrame({"park": ["P"], "region": ["310000"]}))
    assert (elsewhere["advanced"], elsewhere["required_level"], elsewhere["meets_required"]) == (True, None, None)
    assert states({"product": "glass", "design_value": 9.0})[0]["required_level"] is None
    assert states({"approved_on": date(2025, 1, 1)})[0]["required_level"] == 1


def test_the_parameters_of_a_limit_come_as_columns_of_their_own() -> None:
    rows = states({"project": "p", "parameters": "altitude_m=1300;ore=laterite"}, {"project": "q", "parameters": None})
    assert [row["advanced"] for row in rows] == [True, True]


def coming(*rows: dict[str, Any], quotas: pl.DataFrame | None = None, last: date = date(2027, 12, 1), on: date = ON) -> pl.DataFrame:
    frame = pl.DataFrame([PLANNED | row for row in rows], infer_schema_length=None)
    found = project_states(frame, moved() if quotas is None else quotas, LIMITS, law.entry_conditions(), REGIONS, on)
    energy = expected_energy(found, on, last, on)
    assert energy.schema == schemas.EXPECTED_ENERGY
    return energy


def test_approved_energy_is_spread_over_the_days_from_the_planned_start() -> None:
    """36,500 tce a year are 100 tce a day: 16 days of July from the 16th on, then whole months."""
    energy = coming({"planned_operation_on": date(2027, 7, 16)})
    assert dict(energy.select("period", "calorific_tce").iter_rows()) == pytest.approx({
        "2027-07": 1_600.0, "2027-08": 3_100.0, "2027-09": 3_000.0, "2027-10": 3_100.0, "2027-11": 3_000.0, "2027-12": 3_100.0,
    })
    assert energy["equivalent_tce"].to_list() == pytest.approx([2 * tce for tce in energy["calorific_tce"]])
    assert all("assumption of tcewatch" in source for source in energy["source"])


def test_a_planned_start_that_has_passed_begins_today() -> None:
    energy = coming({"planned_operation_on": date(2026, 1, 1), "started_on": date(2025, 6, 1)}, last=date(2026, 7, 1), on=date(2026, 6, 21))
    assert energy.select("period", "calorific_tce").rows() == [("2026-06", pytest.approx(1_000.0)), ("2026-07", pytest.approx(3_100.0))]


def test_what_was_reclaimed_does_not_come() -> None:
    quota = moved(("granted", 36_500.0, ON), ("reclaimed", 9_125.0, ON))  # a quarter of it
    assert coming({}, quotas=quota)["calorific_tce"].sum() == pytest.approx(0.75 * 184 * 100)
    assert coming({}, quotas=moved(("granted", 100.0, ON), ("reclaimed", 100.0, ON)))["calorific_tce"].sum() == 0


@pytest.mark.parametrize("row", [
    {"operating_from": ON}, {"approved_on": None}, {"ended_on": ON},
])
def test_what_operates_is_not_approved_or_has_ended_adds_nothing(row: dict[str, Any]) -> None:
    assert coming(row).height == 0


@pytest.mark.parametrize(("row", "why"), [
    ({"planned_operation_on": None}, "no planned start of operation"), ({"approved_calorific_tce": None}, "no approved energy"),
])
def test_a_project_that_cannot_be_told_is_a_row_without_period(row: dict[str, Any], why: str) -> None:
    (found,) = coming(row).to_dicts()
    assert (found["period"], found["calorific_tce"], found["missing"]) == (None, None, why)


def test_without_an_approved_equivalent_value_that_basis_is_empty_and_says_so() -> None:
    energy = coming({"approved_equivalent_tce": None})
    assert energy["equivalent_tce"].null_count() == energy.height > 0
    assert set(energy["missing"]) == {"no approved energy on the equivalent basis"}


@settings(max_examples=25)
@given(st.dates(date(2026, 6, 1), date(2028, 12, 31)), st.floats(1, 1e6))
def test_a_whole_year_of_operation_adds_up_to_the_approved_energy(start: date, tce: float) -> None:
    year = start.year + 1
    first, last = period_days(str(year))
    found = coming({"planned_operation_on": start, "approved_calorific_tce": tce}, last=last)
    of_year = found.filter(pl.col("period").str.starts_with(str(year)))
    assert of_year.height == 12
    assert of_year["calorific_tce"].sum() == pytest.approx(tce)
    days = (date(start.year, 12, 31) - start).days + 1
    of_start = found.filter(pl.col("period").str.starts_with(str(start.year)))["calorific_tce"].sum()
    assert of_start == pytest.approx(tce * days / (first - date(start.year, 1, 1)).days)
