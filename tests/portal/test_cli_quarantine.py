"""`tcewatch quarantine` on a site: found, shown, and replayed once the cause is mended."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from config import settings as site_settings
from pipeline.settle import Settler
from pipeline.site import Site
from portal.cli.main import main
from store.audit import AuditLog
from store.journal import Arrival
from tests.e2e.conftest import ENTERPRISES, register_tables

CODE = ENTERPRISES[0]
TOPIC = f"tce/v1/159901/{CODE}/GW-01/readings"
NOW = datetime.now(UTC).replace(microsecond=0)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Message 1: two readings of a meter that is not registered beside a good one; message 2: no JSON."""
    (tmp_path / "tcewatch.toml").write_text("")
    site = Site(site_settings.load(tmp_path / "tcewatch.toml"))
    site.register.apply(register_tables(), by="tests", known_from=datetime(2025, 1, 1, tzinfo=UTC))
    readings = [{"meter": meter, "register": "active_import", "ts": NOW.isoformat(), "value": 1.0} for meter in ("E-1", "E-8", "E-9")]
    body = json.dumps({"v": 1, "epoch": "e", "seq": 1, "readings": readings}).encode()
    site.journal.append([Arrival("mqtt", TOPIC, None, None, payload, NOW) for payload in (body, b"\x1b[2J")])
    Settler(site).once()
    site.close()
    return site


@pytest.fixture
def run(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.delenv("TCEWATCH_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tcewatch", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return call


def register(site: Site, *meters: str) -> None:
    rows = [{"enterprise": CODE, "meter": meter} for meter in meters]
    site.register.apply({
        "meter": pl.DataFrame([{**row, "gateway": "GW-01", "medium": "electricity"} for row in rows]),
        "register": pl.DataFrame([{**row, "register": "active_import", "unit": "kWh", "kind": "cumulative"} for row in rows]),
    }, by="tests", known_from=datetime.now(UTC))
    site.close()


def replayed(run: Run, *words: str) -> dict[str, object]:
    code, out, err = run("quarantine", "replay", *words, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def test_one_reading_is_replayed_and_what_became_of_it_is_told(run: Run, site: Site) -> None:
    register(site, "E-8", "E-9")
    assert replayed(run, "1:2") == {
        "rows": 1, "messages": 1, "settled": 1, "decoded": 1, "stored": 1, "duplicate": 0, "conflicting": 0, "rejected": 0, "undecodable": 0,
        "left": [], "replayed_as": [3],
    }
    assert [row["index"] for row in json.loads(run("quarantine", "list", "--not-replayed", "--meter", "E-8", "--json")[1])] == [1]
    code, _, err = run("quarantine", "replay", "1:2")
    assert (code, "was replayed as message 3" in err) == (3, True)
    assert replayed(run, "1")["rows"] == 1  # of the message what waits


def test_what_filters_find_is_replayed_and_what_is_refused_again_is_told(run: Run, site: Site) -> None:
    register(site, "E-9")
    done = replayed(run, "--reason", "unknown_meter", "--enterprise", CODE)
    assert (done["rows"], done["stored"], done["rejected"]) == (2, 1, 1)
    [row] = json.loads(run("quarantine", "list", "--not-replayed", "--kind", "rejected", "--json")[1])
    assert (row["message"], row["index"], row["meter"]) == (3, 1, "E-8")
    entries = AuditLog(site.database).entries()
    site.close()
    entry = entries.filter(pl.col("action") == "quarantine.replay").row(0, named=True)
    assert json.loads(entry["details"]) == {"filters": {"enterprise": CODE, "reason": "unknown_meter"}, "rows": 2, "messages": [1], "as": [3, 3]}


@pytest.mark.parametrize("words", [[], ["1", "--reason", "x"], ["1", "--all"], ["7"], ["1:0"]])
def test_it_must_be_clear_what_is_replayed(run: Run, words: list[str]) -> None:
    assert run("quarantine", "replay", *words)[0] == 3


def test_everything_that_waits_is_replayed_in_one_go(run: Run, site: Site) -> None:
    register(site, "E-8", "E-9")
    done = replayed(run, "--all")
    assert (done["rows"], done["messages"], done["stored"], done["undecodable"]) == (3, 2, 2, 1)
    assert "Nothing there waits" in run("quarantine", "replay", "--reason", "unknown_meter")[1]


def test_a_terminal_is_not_told_what_to_do_by_what_came_in(run: Run) -> None:
    assert "\x1b" not in run("quarantine", "show", "2")[1]
    assert '"meter": "E-9"' in run("quarantine", "show", "1", "2")[1]


def test_a_reading_that_was_refused_twice_is_still_shown_with_the_message_that_it_came_in(run: Run) -> None:
    replayed(run, "1:2")
    assert '"meter": "E-8"' in run("quarantine", "show", "3", "2")[1]
