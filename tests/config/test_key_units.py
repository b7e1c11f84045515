"""Thresholds of key energy users, goals of access, entry conditions: every row has dates and a source, and a site's own rows replace them."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from config import key_units as law
from config import limit_tables
from config.errors import BadInputError

TABLES = {"key_unit_thresholds": law.thresholds(), "access_goals": law.access_goals(), "entry_conditions": law.entry_conditions()}


def test_every_row_has_a_begin_a_source_and_a_confidence_and_low_ones_say_why() -> None:
    for name, table in TABLES.items():
        assert table.select("valid_from", "source", "confidence").null_count().row(0) == (0, 0, 0), name
        low = table.filter(confidence="low")
        assert low["source"].str.contains(r"\[recalled\]|assumption of tcewatch, to be set by the site").all(), name
        assert not table.filter(confidence="high")["source"].str.contains("assumption|recalled").any(), name


def test_no_two_rows_rule_the_same_day() -> None:
    keys = {"key_unit_thresholds": ["threshold"], "access_goals": ["members", "region"], "entry_conditions": ["sector", "standard", "region"]}
    for name, table in TABLES.items():
        rows = table.sort(*keys[name], "valid_from").with_columns(following=pl.col("valid_from").shift(-1).over(keys[name]))
        assert (rows["valid_to"].fill_null(date.max) <= rows["following"].fill_null(date.max)).all(), name


def test_a_year_has_one_threshold_of_each_kind_from_2008_on() -> None:
    for year in range(2008, 2030):
        day = pl.lit(date(year, 12, 31))
        held = TABLES["key_unit_thresholds"].filter(pl.col("valid_from") <= day, (pl.col("valid_to") > day).fill_null(value=True))
        assert sorted(held.select("threshold", "tce").rows()) == [("designated", 5_000.0), ("general", 10_000.0)]


def test_every_standard_of_an_entry_condition_has_a_level_in_the_limits() -> None:
    levels = limit_tables.limits().with_columns(number=pl.col("standard").str.replace(r"-\d{4}$", ""))
    for row in law.entry_conditions().to_dicts():
        assert levels.filter(number=row["standard"])[f"level_{row['level']}"].drop_nulls().len() > 0, row["sector"]


def test_a_site_replaces_a_row_by_one_of_the_same_key_and_adds_others(tmp_path: Path) -> None:
    head = "members,region,goal_ratio,valid_from,valid_to,source,confidence,remark\n"
    rows = "other,1506,0.5,2021-01-01,,a notice of the city of 2026,high,\nother,150622,0.8,2026-01-01,,a notice of the banner of 2026,high,\n"
    (tmp_path / "access_goals_own.csv").write_text(head + rows, encoding="utf-8")
    found = law.access_goals(tmp_path)
    assert found.height == law.access_goals().height + 1
    assert found.filter(members="other", region="1506")["goal_ratio"].to_list() == [0.5]


@pytest.mark.parametrize(("line", "column"), [
    ("general,0,calorific,0.1,2026-01-01,,a document of 2026,high,", "tce"), ("special,1,calorific,0.1,2026-01-01,,a document,high,", "threshold"),
    ("general,1,both,0.1,2026-01-01,,a document of 2026,high,", "basis"), ("general,1,calorific,10,2026-01-01,,a document,high,", "watch_ratio"),
    ("general,1,calorific,0.1,2026-01-01,,,high,", "source"), ("general,1,calorific,0.1,2026-01-01,2026-01-01,a document of 2026,high,", "row 2"),
])
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, line: str, column: str) -> None:
    head = "threshold,tce,basis,watch_ratio,valid_from,valid_to,source,confidence,remark\n"
    (tmp_path / "key_unit_thresholds.csv").write_text(head + line + "\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=column):
        law.thresholds(tmp_path)
