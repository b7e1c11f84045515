"""What was known when: `tcewatch as-of`, `as_of=` in the API, and `--as-of` of `tcewatch calc`."""

import csv
import io
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from portal.cli.main import main
from tests.portal.seeded import CARBIDE, NOW

Run = Callable[..., tuple[int, str, str]]
DAYS = "from=2026-03-01&to=2026-03-05"
ARRIVED = NOW - timedelta(minutes=30)  # of nearly all readings of the seeded site
BEFORE, AFTER = "2026-03-10T03:59:59Z", "2026-03-10T04:30:00Z"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tcewatch", *(str(word) for word in words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def api(log_in: Callable[[str], Any]) -> Any:
    return log_in("admin")


# --- the API ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [
    f"consumption?{DAYS}&enterprise={CARBIDE}", f"consumption?{DAYS}&grain=hour&meter=E-1", "energy?period=2026-02",
    "energy?by=carrier&period=2026-02", "intensities?period=2025", "intensities?by=park&period=2025",
])
def test_as_of_now_is_what_is_there_now(api: Any, path: str) -> None:
    now, then = (api.get(f"/api/v1/{path}{more}&limit=5000").json()["items"] for more in ("", f"&as_of={AFTER}"))
    assert now
    both = now[0].keys() & then[0].keys()  # live consumption also names the edits
    assert [{name: one[name] for name in both} for one in now] == [{name: one[name] for name in both} for one in then]


def test_before_anything_arrived_nothing_was_known(api: Any) -> None:
    for path in (f"consumption?{DAYS}", "energy?period=2026-02"):
        assert api.get(f"/api/v1/{path}&as_of={BEFORE}").json() == {"items": [], "next": None}


def test_verdicts_as_of_are_those_of_the_year_that_is_asked_for(api: Any) -> None:
    [now] = api.get("/api/v1/verdicts?closed=true").json()["items"]
    [then] = api.get("/api/v1/verdicts?closed=true&year=2025&as_of=2100-01-01T00:00:00Z").json()["items"]
    assert then == now
    [then] = api.get(f"/api/v1/verdicts?closed=true&year=2025&as_of={AFTER}").json()["items"]
    assert (then["actual"], then["standing"], now["standing"]) == (now["actual"], "unconfirmed", "binding"), "it was confirmed later"
    assert api.get(f"/api/v1/verdicts?closed=true&as_of={AFTER}").json()["items"] == [], "of 2026 none is closed"


@pytest.mark.parametrize("path", [
    f"data-quality/verdicts?{DAYS}&enterprise={CARBIDE}&of=counts", f"data-quality/verdicts?{DAYS}&enterprise={CARBIDE}&of=periods",
    f"data-quality/verdicts?{DAYS}&enterprise={CARBIDE}", "data-quality?of=index&by=meter&from=2026-03-01&to=2026-03-10&grain=span",
])
def test_what_validation_said_and_how_good_the_data_were_is_known_as_of_an_instant(api: Any, path: str) -> None:
    now, then, before = (api.get(f"/api/v1/{path}{more}&limit=5000").json()["items"] for more in ("", f"&as_of={AFTER}", f"&as_of={BEFORE}"))
    assert then == now
    if "index" in path:
        assert now
        assert {row["completeness_good"] for row in before} <= {None, 0}
        assert any(row["completeness_good"] for row in now)
    else:
        assert before == []
        assert now or path.endswith(CARBIDE), "the seeded readings break no rule"


def test_what_differs_between_two_instants_names_the_readings_that_arrived(api: Any) -> None:
    items = api.get(f"/api/v1/consumption?{DAYS}&meter=E-1&enterprise={CARBIDE}&as_of={BEFORE}&against={AFTER}&limit=5000").json()["items"]
    quantities = [item for item in items if item["measure"] == "quantity"]
    assert len(quantities) == 5
    for item in quantities:
        assert (item["then"], item["now"], item["cause"], item["residual"]) == (None, pytest.approx(21_600), "reading", 0.0)
        assert item["share"] == item["difference"] == item["now"]
        assert item["inputs"] >= 3
        assert item["ids"]
        assert item["first_known"] >= "2026-03-10T04:00:00"


def test_what_cannot_be_asked_is_told(api: Any) -> None:
    for path, kind in (
        (f"consumption?{DAYS}&against={AFTER}", "no-as-of"), (f"energy?period=2025-13&as_of={AFTER}", "bad-period"),
        (f"consumption?from=0001-01-01&to=9999-12-31&as_of={AFTER}", "range-too-large"),
        (f"data-quality?{DAYS}&as_of={AFTER}", "no-as-of"), (f"data-quality?of=repairs&as_of={AFTER}", "no-as-of"),
        (f"data-quality?of=index&from=0001-01-01&to=9999-12-31&as_of={AFTER}", "range-too-large"),
        (f"data-quality/verdicts?from=0001-01-01&to=9999-12-31&as_of={AFTER}", "range-too-large"),
        ("data-quality?from=2026-03-01", "no-days"), ("data-quality?of=index&to=2026-03-01", "no-days"), ("data-quality?of=messages", "no-days"),
    ):
        answer = api.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["type"]) == (400, f"urn:tcewatch:problem:{kind}")
    assert api.get(f"/api/v1/consumption?{DAYS}&as_of=2026-03-10T04:00:00").status_code == 422, "an instant has an offset"


# --- the command ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def folder(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("as-of")
    shutil.copytree(history, folder / "data")
    (folder / "tcewatch.toml").write_text(
        f'[site]\ndata_dir = "{folder}/data"\n[store]\ndatabase_url = "sqlite:///{folder}/data/site.db"\n', encoding="utf-8",
    )
    return folder


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_command_shows_what_was_known_and_why_it_differs(run: Run, folder: Path, tmp_path: Path) -> None:
    settings = ("--settings", folder / "tcewatch.toml", "--from", "2026-03-01", "--to", "2026-03-05", "--enterprise", CARBIDE)
    code, out, _ = run("as-of", AFTER, "--table", "consumption", *settings)
    assert code == 0
    assert sum(float(row["quantity"]) for row in table(out) if row["meter"] == "E-1") == pytest.approx(5 * 21_600)
    code, out, _ = run("as-of", BEFORE, "--against", AFTER, "--table", "energy", *settings)
    rows = table(out)
    assert code == 0
    assert {row["cause"] for row in rows if row["measure"] == "electricity_kwh"} == {"reading"}
    assert {row["enterprise"] for row in rows} == {CARBIDE}
    target = tmp_path / "verdicts.parquet"
    code, _, _ = run("as-of", "2026-03-10 12:30", "--table", "verdicts", "--from", "2025-01-01", *settings[:2], "--out", target)
    assert code == 0
    assert pl.read_parquet(target).filter(pl.col("closed"))["enterprise"].to_list() == [CARBIDE]


@pytest.mark.parametrize(("shown", "instant", "rows"), [
    ("quality_index", AFTER, {("2026-03-01/2026-03-05", "incomplete")}), ("validation_counts", AFTER, {("E-1", "active_import")}),
    ("validation_periods", AFTER, {("E-1", "day_start"), ("C-1", "day_start")}), ("validation_counts", BEFORE, set()), ("validation", AFTER, set()),
])
def test_the_command_shows_the_index_and_what_validation_said_then(run: Run, folder: Path, shown: str, instant: str, rows: set[Any]) -> None:
    days = ("--from", "2026-03-01", "--to", "2026-03-05", "--enterprise", CARBIDE)
    code, out, err = run("as-of", instant, "--table", shown, "--settings", folder / "tcewatch.toml", *days)
    assert code == 0, err
    names = {"quality_index": ("period", "state"), "validation_periods": ("meter", "rule")}.get(shown, ("meter", "register"))
    assert {tuple(row[name] for name in names) for row in table(out)} >= rows
    assert bool(table(out)) == bool(rows)


@pytest.mark.parametrize(("words", "code", "told"), [
    ((BEFORE, "--against", AFTER, "--table", "quality_index"), 3, "--against: quality_index has no differences that are explained"),
    (("yesterday", "--table", "energy"), 2, "is no instant"), ((AFTER, "--table", "weather"), 2, "weather"),
    ((AFTER, "--table", "energy", "--from", "2026-03-02", "--to", "2026-03-01"), 3, "before --from"),
    ((AFTER, "--table", "energy", "--enterprise", "nobody"), 3, "not in the register"), ((AFTER, "--table", "energy", "--out", "x.doc"), 3, "x.doc"),
])
def test_the_command_says_what_is_wrong(run: Run, folder: Path, words: tuple[str, ...], code: int, told: str) -> None:
    ended, _, err = run("as-of", *words, "--settings", folder / "tcewatch.toml")
    assert (ended, told in err) == (code, True), err


def test_where_a_service_holds_the_readings_the_command_says_whom_to_ask(run: Run, folder: Path) -> None:
    import subprocess

    script = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(folder / "data" / "readings.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        code, _, err = run("as-of", AFTER, "--table", "energy", "--settings", folder / "tcewatch.toml")
        holder.communicate()
    assert code == 4
    assert "API" in err


# --- calc -------------------------------------------------------------------------------------------------------------

REGISTERS = """meter,medium,unit,kind,multiplier,known_from,known_to
E-1,electricity,kWh,cumulative,1,,2026-02-01T00:00:00+08:00
E-1,electricity,kWh,cumulative,10,2026-02-01T00:00:00+08:00,
"""
READINGS = """meter,read_at,value,received_at
E-1,2026-01-01T00:00:00+08:00,0,2026-01-01T00:01:00+08:00
E-1,2026-01-01T01:00:00+08:00,50,2026-01-09T00:00:00+08:00
E-1,2026-01-01T02:00:00+08:00,60,2026-01-01T02:01:00+08:00
"""


@pytest.mark.parametrize(("as_of", "hours"), [
    (None, [500.0, 100.0]), ("2026-03-01", [500.0, 100.0]), ("2026-01-31T23:59:59", [50.0, 10.0]), ("2026-01-09T00:00:00+08:00", [50.0, 10.0]),
    ("2026-01-08T23:59:59", [30.0, 30.0]), ("2026-01-01T02:00:59", []),
])
def test_calc_intervals_counts_what_had_arrived_with_the_registers_known_then(
    run: Run, tmp_path: Path, as_of: str | None, hours: list[float],
) -> None:
    (tmp_path / "r.csv").write_text(READINGS)
    (tmp_path / "g.csv").write_text(REGISTERS)
    more = () if as_of is None else ("--as-of", as_of)
    files = ("--readings", tmp_path / "r.csv", "--registers", tmp_path / "g.csv")
    code, out, err = run("calc", "intervals", *files, "--by", "hour", "--out", "-", *more)
    assert code == 0, err
    assert [float(row["quantity"]) for row in table(out)] == hours


def test_calc_intervals_asks_for_the_arrival_and_keeps_the_row_numbers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(READINGS.replace("2026-01-01T02:01:00+08:00", ""))
    (tmp_path / "g.csv").write_text(REGISTERS)
    words = ("calc", "intervals", "--readings", tmp_path / "r.csv", "--registers", tmp_path / "g.csv", "--by", "hour", "--out", "-", "--as-of")
    code, _, err = run(*words, "2026-01-05")
    assert (code, "r.csv row 4 column received_at: the cell is empty" in err) == (3, True), err
    (tmp_path / "r.csv").write_text("meter,read_at,value\nE-1,2026-01-01T00:00:00Z,1\n")
    code, _, err = run(*words, "2026-01-05")
    assert (code, "received_at" in err) == (3, True)


@pytest.mark.parametrize(("as_of", "tce"), [(None, 0.0003), ("2026-06-01", 0.0003), ("2026-02-28T23:59:59", 0.0002), ("2025-12-31", None)])
def test_calc_energy_takes_the_coefficients_known_then(run: Run, tmp_path: Path, as_of: str | None, tce: float | None) -> None:
    (tmp_path / "q.csv").write_text("enterprise,period,carrier,quantity,unit\nA,2025,electricity,1,kWh\n")
    row = "electricity,equivalent,kWh,{},2025-01-01,a list of ours,{}\n"
    text = "carrier,basis,unit,kgce_per_unit,valid_from,source,known_from\n" + row.format(0.3, "2026-03-01T00:00:00+08:00")
    (tmp_path / "c.csv").write_text(text + row.format(0.2, "2026-01-01T00:00:00+08:00"))
    more = () if as_of is None else ("--as-of", as_of)
    code, out, err = run("calc", "energy", "--quantities", tmp_path / "q.csv", "--coefficients", tmp_path / "c.csv", "--out", "-", *more)
    assert code == 0, err
    [found] = table(out)
    assert (float(found["equivalent_tce"]) if found["equivalent_tce"] else None) == (None if tce is None else pytest.approx(tce))
