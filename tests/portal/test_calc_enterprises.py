"""`tcewatch calc access` and `projects` on files."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from config.errors import BadInputError
from portal.cli.calc import app as calc
from tests.portal.table_files import read, write

ORDOS = {"park": "a", "region": "150602"}
MEMBERS = [
    ORDOS | {"enterprise": "E1", "members": "key"}, ORDOS | {"enterprise": "E2", "members": "key"},
    ORDOS | {"enterprise": "E3", "members": "other"}, ORDOS | {"enterprise": "E4", "members": None},
]
POINTS = [
    {"park": "a", "enterprise": "E1", "medium": "electricity", "name": "M1", "delivers": True},
    {"park": "a", "enterprise": "E2", "medium": "electricity", "name": "M2", "delivers": False},
    {"park": "a", "enterprise": "E2", "medium": "water", "name": "the well", "delivers": None},
    {"park": "a", "enterprise": "E3", "medium": "electricity", "name": "M3", "delivers": True},
]
USED = {"E1": ("electricity", "water"), "E2": ("electricity", "water"), "E3": ("electricity",)}
DECLARED = [{"enterprise": name, "medium": medium} for name, media in USED.items() for medium in media]
PROJECT = {
    "project": "N1", "park": "a", "region": "150602", "product": "calcium_carbide", "design_value": 805.0, "design_unit": "kgce/t",
    "approved_on": "2025-03-01", "approved_calorific_tce": 36_500.0, "start_by": "2025-12-31", "planned_operation_on": "2026-12-01",
}


def problems(*words: object) -> list[str]:
    error = CliRunner().invoke(calc, [str(word) for word in words]).exception
    assert isinstance(error, BadInputError)
    return [problem.where for problem in error.problems]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_access_tells_who_lacks_what_and_the_shares_against_the_goals(tmp_path: Path, suffix: str) -> None:
    given = [str(write(tmp_path / f"{name}{suffix}", rows)) for name, rows in (("m", MEMBERS), ("p", POINTS), ("d", DECLARED))]
    out, share = tmp_path / f"o{suffix}", tmp_path / f"s{suffix}"
    words = ["access", "--members", given[0], "--points", given[1], "--declared", given[2], "--on", "2026-06-01"]
    CliRunner().invoke(calc, [*words, "--out", str(out), "--shares", str(share)], catch_exceptions=False)
    rows = {(one["enterprise"], one["medium"]): one for one in read(out).to_dicts()}
    assert (rows["E2", "electricity"]["state"], rows["E2", "electricity"]["lacking"]) == ("not_delivering", "M2")
    assert (rows["E2", "water"]["state"], rows["E1", "water"]["state"], rows["E1", "coal"]["state"]) == ("no_meter", "no_meter", "not_used")
    assert (rows["E4", "coal"]["state"], rows["E4", "coal"]["missing_zh"]) == ("unknown", "没有申报使用介质清单")
    shares = {(one["members"], one["medium"]): one for one in read(share).to_dicts()}
    power = shares["key", "electricity"]  # E4 may be a key unit, or use none
    assert (power["online"], power["unknown"], power["at_least_ratio"]) == (1, 1, pytest.approx(1 / 3))
    assert (power["goal_ratio"], power["meets"]) == (1.0, False)
    assert shares["other", "electricity"]["meets"] is True
    assert shares["other", "electricity"]["goal_ratio"] == 0.2


def test_projects_tell_state_quota_design_and_what_is_coming(tmp_path: Path) -> None:
    move = {"project": "N1", "day": "2025-03-01", "kind": "granted", "calorific_tce": 36_500.0}
    moves = [move, move | {"kind": "reclaimed", "calorific_tce": 3_650.0}]
    given = [str(write(tmp_path / f"{name}.csv", rows)) for name, rows in (("p", [PROJECT]), ("q", moves))]
    out, coming = tmp_path / "o.csv", tmp_path / "e.csv"
    words = ["projects", "--projects", given[0], "--quotas", given[1], "--on", "2026-06-01", "--out", str(out), "--expected", str(coming)]
    CliRunner().invoke(calc, words, catch_exceptions=False)
    (row,) = read(out).to_dicts()
    assert (row["state"], row["remaining_tce"], row["reclaim_due"]) == ("overdue", 32_850.0, True)
    assert (row["advanced"], row["required_level"], row["meets_required"]) == (True, 1, True)  # at level 1 is level 1
    assert read(coming).select("period", "calorific_tce").rows() == [("2026-12", pytest.approx(36_500 * 0.9 * 31 / 365))]
    assert CliRunner().invoke(calc, [*words, "--to", "2026-05"]).exit_code == 2


@pytest.mark.parametrize(("value", "advanced"), [(804.9, True), (805.0, True), (805.1, False)])
def test_a_design_is_advanced_up_to_level_1(tmp_path: Path, value: float, advanced: bool) -> None:
    given, out = write(tmp_path / "p.csv", [PROJECT | {"design_value": value}]), tmp_path / "o.csv"
    CliRunner().invoke(calc, ["projects", "--projects", str(given), "--on", "2026-06-01", "--out", str(out)], catch_exceptions=False)
    assert read(out)["advanced"].to_list() == [advanced]


def test_every_problem_is_named_by_file_row_and_column(tmp_path: Path) -> None:
    def files(**tables: list[dict[str, Any]]) -> list[str]:
        return [str(write(tmp_path / f"{name}.csv", rows)) for name, rows in tables.items()]

    members = [*MEMBERS, MEMBERS[0], {"park": "b", "region": "15", "enterprise": "E1", "members": "large"}]
    points = [POINTS[0] | {"park": "b", "enterprise": "E9"}, POINTS[0] | {"medium": "steam"}, POINTS[0] | {"delivers": "maybe"}]
    m, p, d = files(m=members, p=points, d=[{"enterprise": "E9", "medium": "coal"}])
    assert set(problems("access", "--members", m, "--points", p, "--declared", d, "--on", "2026-06-01", "--out", "-")) == {
        "m.csv row 6 column enterprise", "m.csv row 7 column members", "m.csv row 7 column region", "p.csv row 2 column enterprise",
        "p.csv row 3 column medium", "p.csv row 4 column delivers", "d.csv row 2 column enterprise",
    }
    projects = [PROJECT, PROJECT | {"region": "150603"}, PROJECT | {"project": "N2", "parameters": "altitude"}]
    q, f = files(q=[{"project": "N9", "day": "2025-03-01", "kind": "granted", "calorific_tce": 1.0}], f=projects)
    found = problems("projects", "--projects", f, "--quotas", q, "--on", "2026-06-01", "--out", "-")
    assert {"f.csv row 3 column project", "f.csv row 3 column region", "f.csv row 4 column parameters", "q.csv row 2 column project"} <= set(found)


@pytest.mark.parametrize("command", ["access", "projects"])
def test_each_tells_its_columns(command: str) -> None:
    result = CliRunner().invoke(calc, [command, "--schema"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "missing_zh" in result.stdout
