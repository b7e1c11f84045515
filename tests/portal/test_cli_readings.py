"""`tcewatch readings import|export`: files of others through the same decoding and rules, whatever their columns are called."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from config import settings as site_settings
from pipeline.site import Site
from portal.cli.main import main
from tests.e2e.conftest import ENTERPRISES, register_tables

CODE = ENTERPRISES[0]
Run = Callable[..., tuple[int, str, str]]
START = datetime(2026, 1, 1, tzinfo=UTC)
LONG = f"""
zone = "Asia/Shanghai"
time_format = "%Y/%m/%d %H:%M"
[columns]
time = "采集时间"
value = "示数"
meter = "表号"
unit = "单位"
[constants]
enterprise = "{CODE}"
register = "active_import"
"""
WIDE = f"""
zone = "Asia/Shanghai"
[columns]
time = ["日期", "时刻"]
[constants]
enterprise = "{CODE}"
[[registers]]
column = "一号表"
meter = "E-1"
register = "active_import"
[[registers]]
column = "二号表(MWh)"
meter = "E-2"
register = "active_import"
unit = "MWh"
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "tcewatch.toml").write_text("")
    site = Site(site_settings.load(tmp_path / "tcewatch.toml"))
    site.register.apply(register_tables(), by="tests", known_from=datetime(2025, 1, 1, tzinfo=UTC))
    site.close()
    return site


@pytest.fixture
def run(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tcewatch", "readings", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return call


def imported(run: Run, *words: str) -> dict[str, object]:
    code, out, err = run("import", *words, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def counts(summary: dict[str, object]) -> dict[str, object]:
    return {name: summary[name] for name in ("readings", "stored", "duplicate", "rejected", "undecodable")}


def stored(site: Site) -> list[tuple[str, datetime, float]]:
    names = site.register.names()
    found = site.readings().span(None, START - timedelta(days=900), START + timedelta(days=900)).join(names, on="register_key")
    rows = sorted(found.select("meter", "read_at", "value").rows())
    site.close()
    return rows


def write(name: str, table: dict[str, list[object]]) -> str:
    frame = pl.DataFrame(table, strict=False)
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".xlsx": frame.write_excel}[Path(name).suffix](name)
    return name


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet"])
def test_a_long_file_with_columns_of_its_own_is_read_by_its_mapping(run: Run, site: Site, suffix: str) -> None:
    Path("m.toml").write_text(LONG)
    name = write("r" + suffix, {
        "采集时间": ["2026/01/01 08:00", "2026/01/01 08:15"], "表号": ["E-1", "E-2"], "示数": [1.5, 2.0], "单位": [None, "MWh"], "备注": ["x", "y"],
    })
    assert counts(imported(run, name, "--mapping", "m.toml")) == {"readings": 2, "stored": 2, "duplicate": 0, "rejected": 0, "undecodable": 0}
    assert stored(site) == [("E-1", START, 1.5), ("E-2", START + timedelta(minutes=15), 2000.0)]


def test_a_wide_file_gives_a_reading_for_each_filled_cell(run: Run, site: Site) -> None:
    Path("m.toml").write_text(WIDE)
    name = write("r.csv", {"日期": ["2026-01-01", "2026-01-01"], "时刻": ["08:00", "08:15"], "一号表": [1.0, 2.0], "二号表(MWh)": [3.0, None]})
    assert imported(run, name, "--mapping", "m.toml")["readings"] == 3
    assert stored(site) == [("E-1", START, 1.0), ("E-1", START + timedelta(minutes=15), 2.0), ("E-2", START, 3000.0)]


def test_the_same_file_again_stores_nothing_again_and_the_journal_names_the_file(run: Run, site: Site) -> None:
    Path("m.toml").write_text(WIDE)
    name = write("r.csv", {"日期": ["2026-01-01"], "时刻": ["08:00"], "一号表": [1.0], "二号表(MWh)": [3.0]})
    assert imported(run, name, "--mapping", "m.toml")["stored"] == 2
    assert counts(imported(run, name, "--mapping", "m.toml")) == {"readings": 2, "stored": 0, "duplicate": 2, "rejected": 0, "undecodable": 0}
    message = site.journal.get(1)
    assert message is not None
    assert message.identity is not None
    assert message.identity.startswith("r.csv sha256:")
    assert message.door == "file"
    site.close()


def test_every_bad_cell_is_told_with_its_row_and_column_and_its_reading_is_in_quarantine(run: Run, site: Site) -> None:
    Path("r.csv").write_text(
        "enterprise,meter,register,read_at,value\n"
        f"{CODE},E-1,active_import,2026-01-01T08:00:00+08:00,1\n"
        f"{CODE},E-1,active_import,yesterday,2\n"
        f"{CODE},E-1,active_import,2026-01-01T08:30:00+08:00,many\n"
        f"{CODE},,active_import,2026-01-01T08:45:00+08:00,4\n"
        f"{CODE},E-9,active_import,2026-01-01T08:45:00+08:00,5\n"
        f"{CODE},E-1,active_import,2026-01-01T09:00:00+08:00,6\n"
        ",E-1,active_import,2026-01-01T09:15:00+08:00,7\n"
    )
    summary = imported(run, "r.csv")
    told = [str(problem).partition(":")[0] for problem in summary["problems"]]  # type: ignore[attr-defined]
    assert sorted(told) == ["r.csv row 3 column read_at", "r.csv row 4 column value", "r.csv row 5 column meter", "r.csv row 8 column enterprise"]
    assert counts(summary) == {"readings": 7, "stored": 2, "duplicate": 0, "rejected": 4, "undecodable": 1}
    assert stored(site) == [("E-1", START, 1.0), ("E-1", START + timedelta(hours=1), 6.0)]
    rows = site.quarantine.page()
    found = {reason: bytes(site.quarantine.get(message, index)["raw"]).decode()  # type: ignore[index]
             for message, index, [reason] in rows.select("message", "index", "reasons").rows()}
    site.close()
    assert set(found) == {"bad_timestamp", "bad_value", "bad_meter", "unknown_meter", "unknown_topic"}
    assert "yesterday" in found["bad_timestamp"]
    assert "many" in found["bad_value"]
    code, out, err = run("import", "r.csv")
    assert (code, "r.csv row 4 column value" in err, "quarantine list" in out) == (0, True, True)


def test_a_file_without_its_columns_is_refused_whole_with_all_that_is_missing(run: Run, site: Site) -> None:
    Path("m.toml").write_text(WIDE)
    code, _, err = run("import", write("r.csv", {"日期": ["2026-01-01"], "一号表": [1.0]}), "--mapping", "m.toml")
    assert code == 3
    assert "column 时刻" in err
    assert "column 二号表(MWh)" in err
    assert site.journal.last_id() == 0
    site.close()


@pytest.mark.parametrize(("text", "told"), [
    (LONG.replace('value = "示数"', ""), "[columns] value"), (LONG.replace("Asia/Shanghai", "Nowhere"), "is no time zone"),
    (LONG.replace('register = "active_import"', 'meter = "E-1"'), "meter stands in"), (LONG.replace("enterprise", "company"), "company"),
    (LONG + "\n[columns", "as TOML"), (WIDE.replace('meter = "E-2"', ""), "meter is in neither"),
    (LONG.replace(f'enterprise = "{CODE}"', ""), "enterprise is in neither"),
    (LONG + '[[registers]]\ncolumn = "a"\nregister = "b"', "a column for each"),
])
def test_a_mapping_that_does_not_hold_together_says_what_is_wrong(run: Run, text: str, told: str) -> None:
    Path("m.toml").write_text(text)
    code, _, err = run("import", write("r.csv", {"表号": ["E-1"]}), "--mapping", "m.toml")
    assert (code, told in err) == (3, True), err


def test_what_was_imported_comes_out_again_and_in_once_more_it_is_all_duplicates(run: Run, site: Site) -> None:
    Path("m.toml").write_text(LONG)
    times = [(START + timedelta(hours=8, minutes=15 * step)).strftime("%Y/%m/%d %H:%M") for step in range(200)]
    imported(run, write("r.csv", {"采集时间": times, "表号": ["E-1", "E-2"] * 100, "示数": [step / 4 for step in range(200)], "单位": ["kWh"] * 200}),
             "--mapping", "m.toml")
    for name in ("o.csv", "o.parquet", "o.xlsx", "o.csv.zst"):
        assert run("export", name, "--from", "2026-01-01", "--to", "2026-03-15")[0] == 0
        assert counts(imported(run, name)) == {"readings": 200, "stored": 0, "duplicate": 200, "rejected": 0, "undecodable": 0}, name
    frame = pl.read_parquet("o.parquet")
    assert frame.columns == ["enterprise", "meter", "register", "read_at", "value", "unit", "quality", "copy", "received_at", "message"]
    assert set(frame["quality"]) == {"good"}
    assert run("export", "one.parquet", "--meter", "E-2", "--from", "2026-01-01T08:00:00", "--to", "2026-01-01T09:00:00")[0] == 0
    assert pl.read_parquet("one.parquet")["read_at"].to_list() == [START + timedelta(minutes=15), START + timedelta(minutes=45)]


@pytest.mark.parametrize("words", [
    ("o.csv", "--from", "2026-01-02", "--to", "2026-01-02"), ("o.csv", "--from", "2026-01-01", "--to", "2026-01-02", "--meter", "E-99"),
    ("o.txt", "--from", "2026-01-01", "--to", "2026-01-02"),
])
def test_an_export_of_nothing_is_refused(run: Run, words: tuple[str, ...]) -> None:
    assert run("export", *words)[0] == 3
