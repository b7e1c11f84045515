"""`tcewatch tables`: what the law says, and who has compared it with its text."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from config.lawbook import MODELS
from config.limit_tables import limit_rows
from portal.cli.tables import app

CONFIRM = ("--by", "Li", "--on", "2026-11-02", "--copy", "print of 2024")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    settings = tmp_path / "tcewatch.toml"
    settings.write_text("[site]\n", encoding="utf-8")
    (tmp_path / "var").mkdir()
    return settings


def tables(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def rows(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(tables(*arguments, "--json"))
    return found


def test_the_tables_are_listed_with_their_confidence(site: Path) -> None:
    counted = {row["table"]: row["rows"] for row in rows("--settings", str(site))}
    assert (counted["limits"], counted["coal_equivalent"], counted["quality_weights"], counted["holidays"]) == (len(limit_rows()), 65, 6, 39)
    assert counted.keys() == MODELS.keys()
    assert "limits" in tables("--settings", str(site))
    assert not list((site.parent / "var").iterdir())  # a look creates no database


def test_rows_show_codes_dates_source_confidence_and_standing(site: Path) -> None:
    row = next(row for row in rows("limits", "--settings", str(site)) if row["product"] == "calcium_carbide")
    asked = {"product", "indicator", "unit", "level_1", "level_2", "level_3", "effective_from", "effective_to", "source", "confidence", "standing"}
    assert asked <= row.keys()
    printed = tables("limits", "--settings", str(site))
    assert "GB 21343-2023" in printed
    assert "805 / 823 / 940" in printed
    assert "raw_coal" in tables("coal_equivalent", "--settings", str(site))


@pytest.mark.parametrize(("day", "found"), [("2026-02-14", [True]), ("2026-02-15", [False]), ("2026-02-23", [False]), ("2026-02-24", [])])
def test_on_a_day_only_the_notice_that_names_it_is_shown(site: Path, day: str, found: list[bool]) -> None:
    assert [row["working"] for row in rows("holidays", "--on", day, "--settings", str(site))] == found
    assert "国务院办公厅" in tables("holidays", "--on", "2026-02-14", "--settings", str(site))


@pytest.mark.parametrize(("day", "standard"), [("2024-11-30", "GB 21343-2015"), ("2024-12-01", "GB 21343-2023")])
def test_on_a_day_only_the_edition_in_force_is_shown(site: Path, day: str, standard: str) -> None:
    shown = {row["standard"] for row in rows("limits", "--on", day, "--settings", str(site)) if row["product"] == "calcium_carbide"}
    assert shown == {standard}


@pytest.mark.parametrize(("day", "there"), [("2021-03-31", False), ("2021-04-01", True)])
def test_on_a_day_only_coefficients_in_force_are_shown(site: Path, day: str, there: bool) -> None:
    assert ("lng" in {row["carrier"] for row in rows("coal_equivalent", "--on", day, "--settings", str(site))}) == there


def test_a_confirmation_makes_the_rows_verdicts_binding(site: Path) -> None:
    told = tables("confirm", "calcium_carbide", "comprehensive_energy", "GB 21343-2023", *CONFIRM, "--settings", str(site))
    assert "Its verdicts bind" in told
    standing = {
        (row["indicator"], row["standard"]): row["standing"] for row in rows("limits", "--settings", str(site)) if row["product"] == "calcium_carbide"
    }
    assert [key for key, value in standing.items() if value == "binding"] == [("comprehensive_energy", "GB 21343-2023")]


def test_a_confirmed_row_whose_corrections_are_missing_stays_indicative_and_says_so(site: Path) -> None:
    told = tables("confirm", "flat_glass_gt_800_t_d", "comprehensive_energy", "GB 21340-2019", *CONFIRM, "--settings", str(site))
    assert "stay indicative" in told


def test_a_row_that_is_not_there_and_an_empty_name_are_refused(site: Path) -> None:
    with pytest.raises(BadInputError) as error:
        tables("confirm", "calcium_carbide", "coal", "GB 21343-2023", "--by", " ", "--on", "2026-11-02", "--copy", "x", "--settings", str(site))
    assert [problem.where for problem in error.value.problems] == ["--by", "calcium_carbide coal GB 21343-2023"]
    assert "furnace_electricity GB 21343-2015" in str(error.value)


def test_an_option_before_the_name_of_a_table_holds_for_it(site: Path) -> None:
    found = json.loads(tables("--settings", str(site), "--json", "--on", "2024-11-30", "limits"))
    assert {row["standard"] for row in found if row["product"] == "calcium_carbide"} == {"GB 21343-2015"}
