"""Reports of faults are kept as they were given, with their author, and wrong ones are refused with all that is wrong."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from config.errors import BadInputError
from store.audit import AuditLog
from store.database import Database
from store.register import RegisterStore
from store.repairs import Repairs

ENTERPRISE = "91159901MA0EXAMP4N"
NOW = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.fixture
def repairs(database: Database) -> Repairs:
    tables = {
        "region": pl.DataFrame({"region": ["159901"]}), "park": pl.DataFrame({"park": ["p"], "region": ["159901"]}),
        "enterprise": pl.DataFrame({"enterprise": [ENTERPRISE], "name_zh": ["示例"], "park": ["p"]}),
        "meter": pl.DataFrame({"enterprise": [ENTERPRISE], "meter": ["E-1"], "medium": ["electricity"]}),
    }
    RegisterStore(database).apply(tables, by="test", known_from=NOW - timedelta(days=9))
    return Repairs(database)


def test_a_report_comes_back_and_is_in_the_audit(repairs: Repairs, database: Database) -> None:
    repairs.report(ENTERPRISE, "E-1", NOW, " burnt out ", by=" someone ", now=NOW)
    repairs.report(ENTERPRISE, "E-1", NOW - timedelta(days=1), "again", by="other", now=NOW + timedelta(hours=1))
    rows = repairs.reports().to_dicts()
    assert [(row["report"], row["reported_by"], row["reported_at"]) for row in rows] == [
        ("burnt out", "someone", NOW), ("again", "other", NOW + timedelta(hours=1)),
    ]
    assert AuditLog(database).verify().broken is None


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_kept(repairs: Repairs) -> None:
    with pytest.raises(BadInputError) as told:
        repairs.report(ENTERPRISE, "E-2", NOW + timedelta(microseconds=1), " ", by="", now=NOW, edit=5)
    assert [problem.where for problem in told.value.problems] == ["text", "by", "at", f"{ENTERPRISE}/E-2", "edit"]
    assert repairs.reports().is_empty()
