"""Key energy users: both sides of each threshold, entry and exit, both bases, and what is not known."""

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import key_units as law
from config import schemas
from monitors.key_units import key_units, latest

ON = date(2026, 6, 1)
THRESHOLDS = law.thresholds()
MWH_PER_TCE = 0.1229  # calorific value of electricity, tce for 1 MWh


def years(*rows: dict[str, Any]) -> pl.DataFrame:
    return schemas.conform(pl.DataFrame([{"enterprise": "a", "year": 2025} | row for row in rows], infer_schema_length=None), schemas.YEAR_ENERGY)


NOTHING = schemas.empty(schemas.YEAR_ENERGY)


def designated(*rows: dict[str, Any]) -> pl.DataFrame:
    given_rows = [{"enterprise": "a", "authority": "省"} | row for row in rows]
    return schemas.conform(pl.DataFrame(given_rows, infer_schema_length=None), schemas.DESIGNATION)


def judged(metered: pl.DataFrame, reported: pl.DataFrame = NOTHING, named: pl.DataFrame | None = None, on: date = ON) -> list[dict[str, Any]]:
    found = key_units(metered, reported, schemas.empty(schemas.DESIGNATION) if named is None else named, THRESHOLDS, on)
    assert found.schema == schemas.KEY_UNIT
    return found.to_dicts()


def test_every_threshold_is_told_below_at_and_above_it() -> None:
    """Each row of the table, on a year that it rules, by an enterprise that is not designated and one that is."""
    rows, wanted = [], []
    for number, threshold in enumerate(THRESHOLDS.to_dicts()):
        year = threshold["valid_from"].year
        general, lower = 10_000.0, 5_000.0
        at = {"general": ((general - 1e-6, "designable"), (general, "key"), (general + 1e-6, "key")),
              "designated": ((lower - 1e-6, "below"), (lower, "designable"), (lower + 1e-6, "designable"))}[threshold["threshold"]]
        for place, (tce, status) in enumerate(at):
            rows.append({"enterprise": f"e{number}{place}", "year": year, "calorific_tce": tce})
            wanted.append((f"e{number}{place}", status, True))
    found = judged(years(*rows))
    assert [(row["enterprise"], row["status"], row["watch"]) for row in found] == sorted(wanted)
    assert all(row["source"] and "art. 52" in row["source"] for row in found)


@pytest.mark.parametrize(("tce", "watched"), [
    (8_999.9, None), (9_000.0, 10_000.0), (11_000.0, 10_000.0), (11_000.1, None),
    (4_499.9, None), (4_500.0, 5_000.0), (5_500.0, 5_000.0), (5_500.1, None),
])
def test_the_watch_list_reaches_ten_per_cent_to_both_sides_of_a_threshold(tce: float, watched: float | None) -> None:
    (row,) = judged(years({"calorific_tce": tce}))
    assert (row["watch"], row["watched_tce"]) == (watched is not None, watched)
    if watched is not None:
        assert row["margin_ratio"] == pytest.approx(tce / watched - 1, abs=1e-12)


def test_a_unit_that_uses_forty_gigawatt_hours_differs_between_the_bases() -> None:
    """40 GWh x 0.1229 = 4,916 tce; at 0.3 kgce/kWh on the equivalent basis 12,000 tce."""
    (row,) = judged(years({"calorific_tce": 40_000 * MWH_PER_TCE, "equivalent_tce": 40_000 * 0.3}))
    assert row["calorific_tce"] == pytest.approx(4_916.0)
    assert (row["status"], row["other_status"], row["bases_differ"]) == ("below", "key", True)
    assert "12000 tce" in row["reason"]
    assert "重点用能单位" in row["reason_zh"]


def test_a_threshold_on_the_other_basis_turns_the_two() -> None:
    turned = THRESHOLDS.with_columns(basis=pl.lit("equivalent"))
    energy = years({"calorific_tce": 4_916.0, "equivalent_tce": 12_000.0})
    (row,) = key_units(energy, NOTHING, schemas.empty(schemas.DESIGNATION), turned, ON).to_dicts()
    assert (row["status"], row["other_status"], row["basis"]) == ("key", "below", "equivalent")


@pytest.mark.parametrize(("covered", "estimated", "status"), [
    (0.9, 0.05, "below"), (0.8999, 0.0, "unknown"), (1.0, 0.0501, "unknown"), (None, None, "below"),
])
def test_an_incomplete_year_is_unknown_and_never_below(covered: float | None, estimated: float | None, status: str) -> None:
    (row,) = judged(years({"calorific_tce": 100.0, "covered_ratio": covered, "estimated_ratio": estimated}))
    assert row["status"] == status
    if status == "unknown":
        assert "% of the energy covered" in row["missing"]
        assert (row["listed"], row["change"], row["watch"]) == (None, "undecided", None)


def test_what_is_measured_of_an_incomplete_year_may_reach_the_threshold_alone() -> None:
    (row,) = judged(years({"calorific_tce": 10_000.0, "covered_ratio": 0.4}))
    assert row["status"] == "key"
    assert "already by what is measured" in row["reason"]


def test_a_year_that_is_not_over_is_unknown_unless_it_has_reached_the_threshold_and_decides_nothing_yet() -> None:
    early, late = (judged(years({"year": 2026, "calorific_tce": tce}))[0] for tce in (9_999.0, 10_000.0))
    assert (early["status"], early["missing"], early["decided_on"]) == ("unknown", "2026 is not over", None)
    assert (late["status"], late["decided_on"]) == ("key", None)
    (closed,) = judged(years({"year": 2026, "calorific_tce": 9_999.0}), on=date(2027, 1, 1))
    assert (closed["status"], closed["decided_on"]) == ("designable", date(2027, 1, 1))


def test_the_reported_year_counts_where_the_metered_one_is_incomplete_and_both_are_shown() -> None:
    metered, reported = years({"calorific_tce": 7_000.0, "covered_ratio": 0.5}), years({"calorific_tce": 12_000.0})
    (row,) = judged(metered, reported)
    assert (row["figure"], row["status"]) == ("reported", "key")
    assert (row["metered_calorific_tce"], row["reported_calorific_tce"]) == (7_000.0, 12_000.0)
    (whole,) = judged(years({"calorific_tce": 7_000.0, "covered_ratio": 0.95}), reported)
    assert (whole["figure"], whole["status"]) == ("metered", "designable")
    (only,) = judged(NOTHING, reported)
    assert (only["figure"], only["status"]) == ("reported", "key")


def test_sites_of_a_legal_person_are_added_and_one_that_is_unknown_makes_the_whole_unknown() -> None:
    (row,) = judged(years({"calorific_tce": 6_000.0}, {"calorific_tce": 4_000.0}))
    assert (row["status"], row["calorific_tce"]) == ("key", 10_000.0)
    (unknown,) = judged(years({"calorific_tce": 60_000.0}, {"calorific_tce": None, "missing": "coal has no heating value"}))
    assert (unknown["status"], unknown["calorific_tce"], unknown["missing"]) == ("unknown", None, "coal has no heating value")


def test_a_year_before_all_thresholds_has_no_status() -> None:
    (row,) = judged(years({"year": 2007, "calorific_tce": 1e6}))
    assert (row["status"], row["missing"]) == ("unknown", "no threshold in force on 2007-12-31, the first begins on 2008-04-01")


def test_entry_exit_and_what_an_unknown_year_leaves_open() -> None:
    tce = {2018: 9_000.0, 2019: 10_000.0, 2020: 11_000.0, 2021: None, 2022: 9_000.0, 2023: 12_000.0, 2024: None}
    rows = judged(years(*({"year": year, "calorific_tce": value} for year, value in tce.items())))
    assert [row["change"] for row in rows] == ["first_known", "entry", "none", "undecided", "exit", "entry", "undecided"]
    assert [row["listed"] for row in rows] == [False, True, True, True, False, True, True]
    assert [row["since_year"] for row in rows] == [2018, 2019, 2019, 2019, 2022, 2023, 2023]
    assert [row["decided_on"] for row in rows] == [date(year + 1, 1, 1) for year in tce]


@pytest.mark.parametrize(("row", "status"), [
    ({"valid_from": date(2026, 6, 1)}, "designated"), ({"valid_from": date(2026, 6, 2)}, "designable"),
    ({"valid_to": date(2026, 6, 2)}, "designated"), ({"valid_to": date(2026, 6, 1)}, "designable"), ({"enterprise": "b"}, "designable"),
])
def test_a_designation_counts_that_is_in_force_on_the_day(row: dict[str, Any], status: str) -> None:
    (found,) = judged(years({"calorific_tce": 7_000.0}), named=designated(row))
    assert found["status"] == status
    if status == "designated":
        assert found["source"].endswith("; 省")
        assert found["decided_on"] == max(date(2026, 1, 1), row.get("valid_from") or date.min)


def test_an_earlier_year_is_listed_by_the_designations_of_the_year_after() -> None:
    energy, named = years({"year": 2023, "calorific_tce": 7_000.0}), designated({"valid_from": date(2025, 1, 1)})
    assert judged(energy, named=named)[0]["status"] == "designable"
    assert judged(energy, named=designated({"valid_from": date(2024, 12, 31)}))[0]["status"] == "designated"


def test_a_designation_stands_below_its_threshold_and_the_reason_says_so() -> None:
    (row,) = judged(years({"calorific_tce": 4_000.0}), named=designated({}))
    assert (row["status"], row["listed"]) == ("designated", True)
    assert "the designation has no ground in this year" in row["reason"]
    (key,) = judged(years({"calorific_tce": 10_000.0}), named=designated({}))
    assert key["status"] == "key"


def test_the_latest_is_the_last_year_that_is_over() -> None:
    rows = key_units(years({"year": 2024}, {"calorific_tce": 1e4}, {"year": 2026}), NOTHING, schemas.empty(schemas.DESIGNATION), THRESHOLDS, ON)
    assert latest(rows).select("year", "listed").rows() == [(2025, True)]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(2019, 2025), st.none() | st.floats(0, 20_000)), unique_by=lambda row: row[0], min_size=1))
def test_entries_and_exits_take_turns_and_agree_with_what_is_listed(given_years: list[tuple[int, float | None]]) -> None:
    rows = judged(years(*({"year": year, "calorific_tce": tce} for year, tce in given_years)))
    turns = [row["change"] for row in rows if row["change"] in {"entry", "exit"}]
    assert all(first != second for first, second in pairwise(turns))
    for row in rows:
        assert row["listed"] == {"entry": True, "exit": False}.get(row["change"], row["listed"])
        assert (row["change"] == "undecided") == (row["status"] == "unknown")


@pytest.mark.needs("shared-data")
def test_the_facilities_of_2017_above_ten_thousand_tonnes_are_those_that_the_publisher_counts(shared_data: Path) -> None:
    """us-ghgrp-2017: 2,009 facilities, 1,729 at or above 10,000 tce, 247,834,396.2 tce in all; fuels only, so both bases are one."""
    file = shared_data / "us-ghgrp-2017" / "facility_unit_fuel_energy.csv.zst"
    fuels = pl.read_csv(file, infer_schema_length=None).select(enterprise=pl.col("FACILITY_ID").cast(pl.String), tj="TJ_TOTAL")
    energy = fuels.with_columns(year=pl.lit(2017), calorific_tce=pl.col("tj") * 1000 / 29.3076).with_columns(equivalent_tce="calorific_tce")
    found = key_units(energy, NOTHING, schemas.empty(schemas.DESIGNATION), THRESHOLDS, ON)
    counts = dict(found.group_by("status").len().iter_rows())
    assert (found.height, counts["key"]) == (2_009, 1_729)
    assert found["calorific_tce"].sum() == pytest.approx(247_834_396.2, abs=0.05)
    assert found["bases_differ"].to_list() == [False] * 2_009
    assert found.filter(pl.col("watch") & (pl.col("watched_tce") == 10_000)).height > 0
