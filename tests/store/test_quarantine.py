from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from store.audit import AuditLog
from store.database import Database
from store.quarantine import REST, ROW, WHOLE_MESSAGE, Filters, Quarantine

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


def rejected(message: int, count: int, gateway: str | None = "GW-1", at: datetime = AT) -> list[dict[str, Any]]:
    return [row(message, index, ("unknown_meter",), raw=b"", enterprise="A", gateway=gateway, received_at=at) for index in range(count)]


def kept(quarantine: Quarantine) -> list[tuple[int, int, int | None]]:
    return sorted(quarantine.page(limit=10**6).select("message", "index", "readings").rows())


@pytest.fixture
def small_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.quarantine.KEPT_A_DAY", 5)


def test_a_gateways_readings_have_rows_of_their_own_up_to_the_quota_and_are_counted_beyond_it(quarantine: Quarantine, small_quota: None) -> None:
    quarantine.add(rows(*rejected(1, 5)))
    assert kept(quarantine) == [(1, index, None) for index in range(5)]
    quarantine.add(rows(*rejected(2, 3), *rejected(3, 4)))
    assert kept(quarantine)[5:] == [(2, REST, 3), (3, REST, 4)]
    assert quarantine.counts().rows() == [("rest", "unknown_meter", 7), ("rejected", "unknown_meter", 5)]


def test_a_message_that_crosses_the_quota_has_both(quarantine: Quarantine, small_quota: None) -> None:
    quarantine.add(rows(*rejected(1, 9)))
    assert kept(quarantine) == [(1, REST, 4), *((1, index, None) for index in range(5))]


def test_the_quota_is_that_of_one_gateway_and_one_day_and_leaves_whole_messages_alone(quarantine: Quarantine, small_quota: None) -> None:
    quarantine.add(rows(*rejected(1, 9)))
    quarantine.add(rows(*rejected(2, 5, gateway="GW-2"), *rejected(3, 5, at=AT + timedelta(days=1)), *rejected(4, 5, gateway=None)))
    quarantine.add(rows(*(row(number, enterprise="A", gateway="GW-1", received_at=AT) for number in range(5, 15))))
    assert [one for one in kept(quarantine) if one[0] > 1 and one[1] == REST] == []
    assert len(kept(quarantine)) == 6 + 15 + 10


def test_a_batch_that_is_repeated_after_a_crash_counts_nothing_again(quarantine: Quarantine, small_quota: None) -> None:
    batch = [*rejected(1, 3), *rejected(2, 4)]
    quarantine.add(rows(*batch))
    before = kept(quarantine)
    assert before == [(1, 0, None), (1, 1, None), (1, 2, None), (2, REST, 2), (2, 0, None), (2, 1, None)]
    quarantine.add(rows(*rejected(3, 1)))  # of the other lane, which may come between the crash and the repetition
    quarantine.add(rows(*batch))
    quarantine.add(rows(*batch[:3]))
    assert kept(quarantine) == [*before, (3, REST, 1)]


def test_the_first_rows_of_many_messages_are_found_together_and_no_rest(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.quarantine._MESSAGES_AT_ONCE", 2)
    monkeypatch.setattr("store.quarantine.KEPT_A_DAY", 8)
    quarantine.add(rows(*(row(message, index, received_at=AT) for message in (1, 2, 3) for index in range(4)), row(4, received_at=AT), row(5)))
    assert quarantine.page().filter(pl.col("index") == REST)["message"].to_list() == [3]
    found = quarantine.first_of([1, 2, 3, 4, 9], 3)
    assert sorted(found.select("message", "index").rows()) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (4, WHOLE_MESSAGE)]
    assert found["reasons"].to_list() == [["bad_json"]] * 7
    assert quarantine.first_of([], 3).is_empty()


def test_rows_are_found_by_topic_by_time_and_by_text_in_their_bytes_or_ids(quarantine: Quarantine) -> None:
    quarantine.add(rows(
        row(1, topic="tce/v1/x/readings", raw=b'\x00{"meter":"E_7"', received_at=AT),
        row(2, 0, meter="E-77", topic="other", received_at=AT + timedelta(hours=1)),
        row(3, 0, gateway="GW%1", raw="厂".encode(), received_at=AT + timedelta(hours=2)),
    ))

    def found(**filters: Any) -> list[int]:
        return quarantine.page(filters=Filters(**filters))["message"].to_list()

    assert found(topic="v1/x") == [1]
    assert found(text="E_7") == [1]
    assert found(text="E-7") == [2]
    assert found(text="厂") == [3]
    assert found(text="%") == [3]
    assert found(since=AT + timedelta(hours=1)) == [3, 2]
    assert found(until=AT + timedelta(hours=1)) == [1]
    assert found(since=AT, until=AT + timedelta(hours=2), text="E") == [2, 1]


def test_what_was_replayed_is_marked_and_written_down(quarantine: Quarantine, database: Database) -> None:
    quarantine.add(rows(row(1, 0), row(1, 1), row(2)))
    quarantine.mark_replayed({1: 7}, [(1, 0)], by="someone", details={"messages": [1]})
    assert quarantine.page(filters={"replayed": True}).select("message", "index", "replayed_as").rows() == [(1, 0, 7)]
    assert quarantine.page(filters={"replayed": False}).select("message", "index").rows() == [(2, -1), (1, 1)]
    assert quarantine.get(1, 0)["replayed_as"] == 7  # type: ignore[index]
    assert AuditLog(database).entries().select("by", "action").rows() == [("someone", "quarantine.replay")]
