"""What was said of a sign stays; reported stops and points that need a meter come back by local days."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from config import schemas
from config.errors import BadInputError
from store.audit import AuditLog
from store.database import Database
from store.figures import Figures
from store.register import RegisterStore
from store.signs import SignNotes
from tests.store.conftest import COKE, KNOWN, STEEL

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def test_the_last_note_of_a_sign_is_shown_and_each_is_audited(database: Database) -> None:
    notes = SignNotes(database)
    notes.look(STEEL, "night_load", None, "2026-02-01", " pumps ", by=" Li ", now=NOW)
    notes.look(STEEL, "night_load", None, "2026-02-01", "pumps, seen on site", by="Wang", now=NOW)
    notes.look(STEEL, "night_load", "furnace", "2026-02-01", "other", by="Li", now=NOW)
    rows = {row["subject"]: (row["note"], row["looked_at_by"], row["looked_at"]) for row in notes.notes().to_dicts()}
    assert rows == {None: ("pumps, seen on site", "Wang", NOW), "furnace": ("other", "Li", NOW)}
    assert AuditLog(database).entries()["subject"].to_list()[0] == f"{STEEL}/night_load/2026-02-01"
    assert AuditLog(database).verify().broken is None


def test_a_note_without_words_or_author_is_refused(database: Database) -> None:
    notes = SignNotes(database)
    with pytest.raises(BadInputError) as told:
        notes.look(STEEL, "night_load", None, "2026", " ", by="", now=NOW)
    assert [problem.where for problem in told.value.problems] == ["note", "by"]
    assert notes.notes().is_empty()


def test_a_reported_stop_is_of_local_days_and_the_day_of_its_end_is_not_one(register: RegisterStore) -> None:
    rows = pl.DataFrame({"enterprise": [STEEL, COKE], "process": [None, "oven"], "valid_from": ["2026-02-01"] * 2, "valid_to": ["2026-02-11", None]})
    register.apply({"stop": rows}, by="registrar", known_from=NOW)
    found = {row["enterprise"]: (row["process"], row["first_day"], row["last_day"]) for row in register.stops().to_dicts()}
    assert found == {STEEL: (None, date(2026, 2, 1), date(2026, 2, 10)), COKE: ("oven", date(2026, 2, 1), None)}
    assert register.stops().schema == schemas.STOP
    with pytest.raises(BadInputError, match="first day on which it stands"):
        register.apply({"stop": rows.drop("valid_from")}, by="registrar", known_from=NOW)


def test_a_metering_point_names_a_meter_of_its_medium_or_none(register: RegisterStore) -> None:
    point = {"enterprise": STEEL, "point": "P1", "level": "unit", "medium": "electricity", "meter": "E-1"}
    register.apply({"metering_point": pl.DataFrame([point, {**point, "point": "P2", "meter": None}])}, by="registrar", known_from=KNOWN)
    assert register.metering_points().select("point", "level", "meter").rows() == [("P1", "unit", "E-1"), ("P2", "unit", None)]
    wrong = pl.DataFrame([{**point, "medium": "water"}, {**point, "point": "P3", "meter": "E-9"}, {**point, "point": "P4", "level": "house"}])
    with pytest.raises(BadInputError) as told:
        register.apply({"metering_point": wrong}, by="registrar", known_from=NOW)
    assert {problem.where.split(" column ")[1] for problem in told.value.problems} == {"meter", "level"}
    assert "meter E-1 measures electricity, the point needs water" in str(told.value)
    assert "there is no meter" in str(told.value)


def test_a_tax_is_a_figure_that_enters_no_intensity(register: RegisterStore, database: Database) -> None:
    figures = Figures(database)
    figures.apply(pl.DataFrame({"enterprise": [STEEL], "period": ["2025"], "figure": ["tax_10k_cny"], "value": [120.0]}), maker="a", at=NOW)
    assert figures.taxes().is_empty()
    figures.check_all(checker="b", at=NOW)
    assert figures.taxes().rows() == [(STEEL, "2025", 120.0)]
    assert figures.values().is_empty()
    assert register.enterprises().height == 2
