"""Sheets of designations, media in use, projects and quotas in the register; minutes that are kept and never changed."""

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from config import schemas
from config.errors import BadInputError
from store.audit import AuditLog
from store.database import Database
from store.edits import Edits
from store.figures import Figures
from store.projects import Minutes
from store.register import ImportCount, RegisterStore

STEEL, COKE = "91150400MA0EXAMP0J", "91150400MA0EXAMP1M"
KNOWN = datetime(2025, 1, 11, tzinfo=UTC)
AT = datetime(2026, 3, 1, 4, tzinfo=UTC)
Tables = dict[str, pl.DataFrame]


@pytest.fixture
def register(database: Database, tables: Callable[[], Tables]) -> RegisterStore:
    store = RegisterStore(database)
    store.apply(tables(), by="registrar", known_from=KNOWN)
    return store


def project(**given: object) -> Tables:
    return {"project": pl.DataFrame([{"project": "p-1", "enterprise": STEEL, "park": "north", "approved_on": "2025-03-01"} | given])}


def refused(store: RegisterStore, tables: Tables) -> str:
    with pytest.raises(BadInputError) as caught:
        store.apply(tables, by="registrar", known_from=KNOWN)
    return str(caught.value)


def test_the_sheets_come_back_as_they_were_given_and_in_local_days(register: RegisterStore, tmp_path: Path) -> None:
    register.apply({
        "designation": pl.DataFrame({"enterprise": [STEEL], "authority": ["省"], "valid_from": ["2025-04-01"], "valid_to": ["2026-04-01"]}),
        "medium_use": pl.DataFrame({"enterprise": [STEEL], "medium": ["coal"], "source": ["a list"], "valid_from": ["2025-01-01"]}),
        **project(design_value="800", design_unit="kgce/t", parameters="a=1; b = x", approved_calorific_tce=12_000.0),
        "quota": pl.DataFrame({"project": ["p-1"], "day": ["2025-03-01"], "kind": ["granted"], "document": ["d"], "calorific_tce": [12_000.0]}),
    }, by="registrar", known_from=KNOWN)
    assert register.designations().rows() == [(STEEL, "省", None, date(2025, 4, 1), date(2026, 4, 1))]
    assert register.media_used().rows() == [(STEEL, None, "coal", "a list", date(2025, 1, 1), None)]
    (row,) = register.projects().to_dicts()
    assert (row["design_value"], row["parameters"], row["approved_on"]) == (800.0, "a=1;b=x", date(2025, 3, 1))
    assert register.quotas().rows() == [("p-1", date(2025, 3, 1), "granted", "d", 12_000.0)]
    register.export_file(tmp_path / "all.xlsx")
    assert register.import_file(tmp_path / "all.xlsx", by="registrar", known_from=KNOWN).changed == 0


def test_a_project_is_followed_by_versions_and_can_be_withdrawn(register: RegisterStore) -> None:
    register.apply(project(), by="registrar", known_from=KNOWN)
    assert register.apply(project(started_on="2025-06-01"), by="registrar", known_from=AT) == ImportCount(changed=1)
    assert register.projects()["started_on"].to_list() == [date(2025, 6, 1)]
    assert register.apply(project(withdrawn="true"), by="registrar", known_from=AT).withdrawn == 1
    assert register.projects().height == 0


def quota(**given: object) -> Tables:
    return {"quota": pl.DataFrame([{"project": "p-9", "day": "2025-01-01", "kind": "granted", "document": "d", "calorific_tce": 1.0} | given])}


REFUSED: list[tuple[Tables, str]] = [
    (project(enterprise=COKE[:-1] + "X"), "is no credit code"), (project(park="south"), "there is no park south"),
    (project(design_value=800.0), "column design_unit: is empty"), (project(design_unit="kgce/t"), "column design_value: is empty"),
    (project(approved_on=None, approved_calorific_tce=1.0), "column approved_on: is empty"), (project(parameters="a"), "gives no parameter"),
    (project(parameters="a=1;a=2"), "gives no parameter"), (project(approved_calorific_tce=0.0), "is not above 0"),
    (quota(), "no project p-9"), (quota(kind="lent"), "'lent' is not known"), (quota(calorific_tce=-1.0), "is not above 0"),
    ({"designation": pl.DataFrame({"enterprise": [STEEL] * 2, "authority": ["省"] * 2, "valid_from": ["2025-01-01", "2025-06-01"]})}, "overlaps"),
    ({"medium_use": pl.DataFrame({"enterprise": [STEEL], "medium": ["wind"], "source": ["l"]})}, "'wind' is not known"),
    ({"medium_use": pl.DataFrame({"enterprise": [STEEL], "medium": ["coal"], "site": ["s"], "source": ["l"]})}, "there is no site"),
]


def test_what_does_not_hold_together_is_refused_by_name(register: RegisterStore) -> None:
    for given, what in REFUSED:
        assert what in refused(register, given)
    assert register.projects().height == register.quotas().height == register.designations().height == register.media_used().height == 0


@pytest.fixture
def minutes(database: Database, register: RegisterStore, tmp_path: Path) -> Minutes:
    register.apply(project(), by="registrar", known_from=KNOWN)
    (tmp_path / "evidence").mkdir()
    return Minutes(database, Edits(database, tmp_path / "evidence", zone="Asia/Shanghai"))


def test_minutes_are_kept_once_under_their_hash_and_audited(minutes: Minutes, database: Database) -> None:
    kept = [minutes.add("p-1", date(2026, 2, 1), "the quota", b"what was said", name="a.pdf", by="x", at=AT) for _ in range(2)]
    assert kept == [hashlib.sha256(b"what was said").hexdigest()] * 2
    assert minutes.rows().schema == schemas.MINUTES
    assert minutes.rows().rows() == [("p-1", STEEL, date(2026, 2, 1), "the quota", kept[0], "x", AT)]
    assert AuditLog(database).entries()["action"].to_list().count("project.minutes") == 1


def test_minutes_of_nothing_or_of_tomorrow_are_refused_whole(minutes: Minutes) -> None:
    with pytest.raises(BadInputError) as caught:
        minutes.add("p-9", date(2026, 3, 3), " ", b"x", name="a", by="x", at=AT)
    assert [problem.where for problem in caught.value.problems] == ["subject", "held_on", "project"]
    with pytest.raises(BadInputError, match="0 bytes"):
        minutes.add("p-1", date(2026, 3, 1), "s", b"", name="a", by="x", at=AT)
    assert minutes.rows().height == 0


def test_the_energy_of_a_year_may_be_reported_in_tonnes_of_coal_equivalent(database: Database, register: RegisterStore) -> None:
    assert register.version()
    figures = Figures(database)
    row = {"enterprise": STEEL, "period": "2025", "figure": "energy_calorific_tce", "value": 9_000.0}
    figures.apply(pl.DataFrame([row, row | {"figure": "energy_equivalent_tce", "value": 20_000.0}]), maker="m", at=AT)
    assert figures.energies().height == 0  # nobody has checked them
    figures.check_all(checker="c", at=AT)
    assert figures.energies().schema == schemas.YEAR_ENERGY
    assert figures.energies().select("enterprise", "year", "calorific_tce", "equivalent_tce").rows() == [(STEEL, 2025, 9_000.0, 20_000.0)]
    assert figures.values().height == 0
    with pytest.raises(BadInputError) as caught:
        figures.apply(pl.DataFrame([row | {"period": "2025-03"}, row | {"period": "2024", "unit": "kgce"}]), maker="m", at=AT)
    assert [problem.what for problem in caught.value.problems] == ["2025-03 is no year", "'kgce' does not fit"]
