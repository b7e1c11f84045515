from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from store.database import Database
from store.quarantine import ROW, WHOLE_MESSAGE, Quarantine

AT = datetime(2026, 1, 1, 0, 0, 0, 7, tzinfo=UTC)


@pytest.fixture
def quarantine(database: Database) -> Quarantine:
    return Quarantine(database)


def row(message: int, index: int = WHOLE_MESSAGE, reasons: tuple[str, ...] = ("bad_json",), **others: Any) -> dict[str, Any]:
    return {"message": message, "index": index, "kind": "rejected" if index >= 0 else "undecodable", "reasons": list(reasons), "raw": b"{", **others}


def rows(*values: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(values), schema_overrides={name: dtype for name, dtype in ROW.items() if any(name in value for value in values)})


def test_bytes_are_kept_whole_whatever_they_are(quarantine: Quarantine) -> None:
    raw = bytes(range(256)) * 4096
    quarantine.add(rows(row(1, raw=raw, topic="tce/v1/\u0000bad", received_at=AT)))
    found = quarantine.get(1, WHOLE_MESSAGE)
    assert found is not None
    assert (found["raw"], found["received_at"], found["reasons"]) == (raw, AT, ["bad_json"])
    assert found["topic"] == "tce/v1/\ufffdbad"


def test_zero_bytes_are_zero_bytes_and_not_nothing(quarantine: Quarantine) -> None:
    quarantine.add(rows(row(1, raw=b"")))
    found = quarantine.get(1, WHOLE_MESSAGE)
    assert found is not None
    assert found["raw"] == b""


def test_the_same_row_again_changes_nothing(quarantine: Quarantine) -> None:
    quarantine.add(rows(row(1, 0, ("unknown_meter",))))
    quarantine.add(rows(row(1, 0, ("other",), raw=b"other"), row(1, 1, ("unknown_meter",))))
    assert quarantine.counts().rows() == [("rejected", "unknown_meter", 2)]
    assert quarantine.get(1, 0)["raw"] == b"{"  # type: ignore[index]


def test_nothing_is_added_by_an_empty_table(quarantine: Quarantine) -> None:
    quarantine.add(pl.DataFrame(schema=ROW))
    assert quarantine.page().is_empty()
    assert quarantine.counts().is_empty()
    assert quarantine.get(1, 0) is None


def test_pages_follow_each_other_without_gap_or_overlap(quarantine: Quarantine) -> None:
    quarantine.add(rows(*(row(message, index) for message in (1, 2, 3) for index in range(7))))
    seen: list[tuple[int, int]] = []
    after = None
    while not (page := quarantine.page(after=after, limit=4)).is_empty():
        seen += page.select("message", "index").rows()
        after = seen[-1]
        quarantine.add(rows(row(99 + len(seen))))  # what comes in meanwhile is newer than the page and shifts nothing
    assert seen == [(message, index) for message in (3, 2, 1) for index in range(7)]


def test_a_page_says_how_many_bytes_there_are_without_bringing_them(quarantine: Quarantine) -> None:
    quarantine.add(rows(row(1, raw=b"x" * 1000)))
    page = quarantine.page()
    assert page["raw_size"].to_list() == [1000]
    assert "raw" not in page.columns


def test_rows_are_filtered_by_reason_enterprise_and_visibility(quarantine: Quarantine) -> None:
    quarantine.add(rows(
        row(1, 0, ("unknown_meter",), enterprise="A"), row(2, 0, ("unknown_meter", "future"), enterprise="B"),
        row(3, 0, ("unknown",), enterprise="B"),
    ))

    def messages(**query: Any) -> list[int]:
        return quarantine.page(**query)["message"].to_list()

    assert messages(filters={"reason": "unknown_meter"}) == [2, 1]
    assert messages(filters={"reason": "unknown"}) == [3]  # not those whose reason only begins so
    assert messages(filters={"reason": "%"}) == []
    assert messages(filters={"reason": "unknown_meter", "enterprise": "B", "kind": None}) == [2]
    assert messages(enterprises=["A"]) == [1]
    assert messages(enterprises=[]) == []
    assert quarantine.counts(enterprises=["B"]).rows() == [("rejected", "future", 1), ("rejected", "unknown", 1), ("rejected", "unknown_meter", 1)]


def test_a_value_that_is_no_number_and_an_endless_id_are_kept_as_far_as_they_can(quarantine: Quarantine) -> None:
    quarantine.add(rows(row(1, 0, value=float("inf"), meter="m" * 5000)))
    found = quarantine.get(1, 0)
    assert found is not None
    assert found["value"] == float("inf")
    assert found["meter"] == "m" * 200
