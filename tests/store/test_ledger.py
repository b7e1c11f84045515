import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import StoreFullError, StoreUnavailableError
from config.schemas import SETTLEMENT, conform, empty
from store import ledger as ledger_module
from store.journal import HISTORY, LIVE
from store.ledger import GAP, MARK, SEQUENCE, SETTLED, Ledger

JUNE_1 = date(2026, 6, 1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def settlement(message: int, seq: int | None = None, **others: object) -> dict[str, object]:
    usual = {
        "message": message, "outcome": "decoded", "reason": None, "enterprise": "E", "gateway": "g", "epoch": "e", "seq": seq,
        "decoded": 10, "stored": 7, "duplicate": 1, "conflicting": 1, "rejected": 1,
    }
    return usual | others


NOTHING = {"decoded": 0, "stored": 0, "duplicate": 0, "conflicting": 0, "rejected": 0}


def settled(ledger: Ledger, *rows: dict[str, object], cursor: int | None = None, batch: int = 0) -> None:
    frame = pl.DataFrame(rows, schema=SETTLEMENT)
    ledger.settle(frame, cursor if cursor is not None else max((int(str(row["message"])) for row in rows), default=0), batch=batch)


def received(ledger: Ledger, *seqs: int, first: int = 1, gateway: str = "g", epoch: str = "e") -> None:
    settled(ledger, *[settlement(first + n, seq, gateway=gateway, epoch=epoch) for n, seq in enumerate(seqs)])


def counted(ledger: Ledger) -> tuple[int, int, int, int]:
    """highest, contiguous, missing, lost of the only gateway."""
    row, = ledger.sequences().select("highest_seq", "contiguous_seq", "missing", "lost").rows()
    return row


# --- settling -----------------------------------------------------------------------------------------------------------

def test_a_new_ledger_is_empty(ledger: Ledger) -> None:
    assert (ledger.cursor(), ledger.receipt_cursor(), ledger.get_state("x")) == (0, 0, None)
    assert (ledger.totals().received, ledger.totals().published) == (0, 0)
    assert (ledger.sequences().schema, ledger.gaps().schema) == (SEQUENCE, GAP)
    assert (ledger.dirty().schema, ledger.settlements(0, 9).schema) == (MARK, SETTLEMENT)


def test_what_is_settled_is_counted_and_comes_back(ledger: Ledger) -> None:
    bad = settlement(2, outcome="undecodable", reason="bad_json", enterprise=None, gateway=None, epoch=None, **NOTHING)
    settled(ledger, settlement(1, 1), bad, settlement(3, 2, outcome="state", **NOTHING))
    totals = ledger.totals()
    assert (totals.received, totals.decoded_messages, totals.undecodable, totals.missing, totals.published) == (3, 2, 1, 0, 3)
    assert (totals.decoded, totals.stored, totals.duplicate, totals.conflicting, totals.rejected) == (10, 7, 1, 1, 1)
    assert ledger.settlements(1, 1).row(0, named=True) == bad
    assert ledger.settlements(0, 10)["message"].to_list() == [1, 2, 3]
    assert ledger.cursor() == 3


def test_settling_a_batch_again_changes_nothing(ledger: Ledger) -> None:
    batch = [settlement(message, seq) for message, seq in ((1, 1), (2, 3), (3, 3))]
    for _ in range(3):
        settled(ledger, *batch)
        assert (ledger.totals().received, ledger.totals().stored, counted(ledger)) == (3, 21, (3, 1, 1, 0))


def test_a_later_settlement_of_a_message_replaces_the_earlier_one(ledger: Ledger) -> None:
    settled(ledger, settlement(1, outcome="undecodable", **NOTHING), settlement(2, 2))
    settled(ledger, settlement(1, 1), cursor=2)
    totals = ledger.totals()
    assert (totals.received, totals.undecodable, totals.decoded, totals.missing) == (2, 0, 20, 0)


def test_an_empty_batch_moves_the_cursor_and_the_cursor_never_goes_back(ledger: Ledger) -> None:
    settled(ledger, cursor=7)
    settled(ledger, cursor=5)
    assert ledger.cursor() == 7


def test_counts_that_are_left_out_are_none_and_not_unknown(ledger: Ledger) -> None:
    ledger.settle(conform(pl.DataFrame({"message": [1], "outcome": ["undecodable"]}), SETTLEMENT), 1)
    assert (ledger.totals().received, ledger.totals().decoded) == (1, 0)


def test_everything_is_there_when_the_ledger_is_opened_again_also_beside_the_first(ledger: Ledger, tmp_path: Path) -> None:
    received(ledger, 1, 4)
    ledger.set_state("evaluated", "abc")
    ledger.set_state("evaluated", "def")
    ledger.set_receipt_cursor(2)
    ledger.mark_dirty(marks((1, JUNE_1)))
    other = Ledger(tmp_path / "ledger.sqlite")
    assert (other.cursor(), other.receipt_cursor(), other.get_state("evaluated"), counted(other)) == (2, 2, "def", (4, 1, 2, 0))
    assert other.dirty().equals(ledger.dirty())
    assert other.totals() == ledger.totals()
    other.close()


def test_nothing_of_a_batch_counts_when_it_cannot_be_entered_whole(ledger: Ledger) -> None:
    received(ledger, 1)
    ledger._db.execute(f"PRAGMA max_page_count = {ledger._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(StoreFullError, match=r"ledger\.sqlite is full"):
        received(ledger, *range(2, 5000), first=2)
    assert (ledger.cursor(), ledger.totals().received, counted(ledger)) == (1, 1, (1, 1, 0, 0))
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    received(ledger, *range(2, 5000), first=2)
    assert counted(ledger) == (4999, 4999, 0, 0)


def test_a_file_that_is_no_ledger_says_that_it_can_be_made_anew(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"something else" * 1000)
    with pytest.raises(StoreUnavailableError, match="made anew from the journal"):
        Ledger(tmp_path / "ledger.sqlite")


def test_a_ledger_that_another_process_writes_is_waited_for(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger._db.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        received(ledger, 1)
    other.execute("ROLLBACK")
    other.close()
    received(ledger, 1)
    assert counted(ledger) == (1, 1, 0, 0)


# --- sequences ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("seqs", "expected"),
    [
        ([1, 2, 3], (3, 3, 0, 0)),
        ([2], (2, 0, 1, 0)),
        ([1, 4], (4, 1, 2, 0)),
        ([4, 1], (4, 1, 2, 0)),
        ([1, 5, 3], (5, 1, 2, 0)),
        ([1, 4, 2, 3], (4, 4, 0, 0)),
        ([1, 1, 1, 3, 3], (3, 1, 1, 0)),
        ([1000], (1000, 0, 999, 0)),
    ],
)
def test_a_gateway_s_count_says_what_is_missing(ledger: Ledger, seqs: Sequence[int], expected: tuple[int, int, int, int]) -> None:
    received(ledger, *seqs)
    assert counted(ledger) == expected
    one_by_one = Ledger(ledger._path.with_name("other.sqlite"))
    for n, seq in enumerate(seqs):
        received(one_by_one, seq, first=n + 1)
    assert counted(one_by_one) == expected
    one_by_one.close()


def test_published_is_received_and_missing(ledger: Ledger) -> None:
    received(ledger, 1, 2, 5, 5)
    assert (ledger.totals().received, ledger.totals().missing, ledger.totals().published) == (4, 2, 6)
    received(ledger, 3, first=5)
    assert (ledger.totals().received, ledger.totals().missing, ledger.totals().published) == (5, 1, 6)


def test_gateways_and_epochs_count_for_themselves(ledger: Ledger) -> None:
    received(ledger, 1, 2)
    received(ledger, 2, first=3, gateway="h")
    received(ledger, 3, first=4, epoch="later")
    assert ledger.sequences().select("gateway", "epoch", "highest_seq", "contiguous_seq", "missing", "last_message").rows() == [
        ("g", "e", 2, 2, 0, 2), ("g", "later", 3, 0, 2, 4), ("h", "e", 2, 0, 1, 3),
    ]
    assert ledger.gaps().select("gateway", "epoch", "from_seq", "to_seq", "lost").rows() == [("g", "later", 1, 2, False), ("h", "e", 1, 1, False)]


def test_messages_without_a_count_take_no_part(ledger: Ledger) -> None:
    settled(ledger, settlement(1, None), settlement(2, 1, epoch=None), settlement(3, 0))
    assert ledger.sequences().is_empty()
    assert ledger.totals().received == 3


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ((3, 3), (6, 3, 2, 1)),  # 1 2 . . . 6, of which 3 is given up
        ((3, 5), (6, 6, 0, 3)),
        ((1, 2), (6, 2, 3, 0)),  # both are here: nothing is lost
        ((2, 4), (6, 4, 1, 2)),
        ((5, 8), (8, 2, 2, 3)),  # 7 and 8 were published, as the report itself says
        ((9, 9), (9, 2, 5, 1)),
    ],
)
def test_what_a_gateway_reports_as_lost_is_missing_and_waited_for_no_longer(
    ledger: Ledger, lost: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    received(ledger, 1, 2, 6)
    for _ in range(2):  # a crash repeats it
        ledger.record_lost("E", "g", "e", *lost)
        assert counted(ledger) == expected
        assert ledger.totals().missing == expected[2] + expected[3]


def test_a_lost_message_that_comes_after_all_is_received(ledger: Ledger) -> None:
    ledger.record_lost("E", "g", "e", 1, 3)
    assert counted(ledger) == (3, 3, 0, 3)
    received(ledger, 2)
    assert counted(ledger) == (3, 3, 0, 2)
    assert ledger.gaps().select("from_seq", "to_seq", "lost").rows() == [(1, 1, True), (3, 3, True)]
    assert ledger.totals().published == 3


steps = st.lists(
    st.one_of(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.tuples(st.integers(1, 14), st.integers(0, 4))), min_size=1, max_size=8
)


@given(steps=steps)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_ranges_say_the_same_as_sets_whatever_comes_in_whatever_order(tmp_path_factory: pytest.TempPathFactory, steps: list[object]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("l") / "ledger.sqlite")
    here, given_up, highest, message = set[int](), set[int](), 0, 1
    for step in steps:
        if isinstance(step, list):
            received(ledger, *step, first=message)
            message += len(step)
            here |= set(step)
            highest = max(highest, *step)
        else:
            first, length = step  # type: ignore[misc]
            ledger.record_lost("E", "g", "e", first, first + length)
            given_up |= set(range(first, first + length + 1))
            highest = max(highest, first + length)
        lost = given_up - here
        missing = set(range(1, highest + 1)) - here - lost
        assert counted(ledger) == (highest, min(missing, default=highest + 1) - 1, len(missing), len(lost))
        gaps = ledger.gaps().select("from_seq", "to_seq", "lost").rows()
        said = sorted((seq, is_lost) for start, end, is_lost in gaps for seq in range(start, end + 1))
        assert said == sorted([(seq, False) for seq in missing] + [(seq, True) for seq in lost])
    ledger.close()


# --- dirty days ---------------------------------------------------------------------------------------------------------

def marks(*pairs: tuple[int, date]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema={"register_key": pl.UInt32, "day": pl.Date}, orient="row")


def test_a_marked_day_is_dirty_once_its_batch_is_settled(ledger: Ledger) -> None:
    batch = ledger.mark_dirty(marks((1, JUNE_1), (2, JUNE_1), (1, JUNE_1)))
    settled(ledger, settlement(4))
    assert ledger.dirty().is_empty()
    settled(ledger, settlement(5), batch=batch)
    assert ledger.dirty().rows() == [(1, JUNE_1, batch), (2, JUNE_1, batch)]


def test_batch_numbers_rise_whatever_the_lane_and_begin_again_where_a_crash_was(ledger: Ledger) -> None:
    assert ledger.mark_dirty(marks()) == ledger.mark_dirty(marks()) == 1
    ledger.settle(empty(SETTLEMENT), 900, lane=HISTORY, batch=1)
    assert ledger.mark_dirty(marks()) == 2
    ledger.settle(empty(SETTLEMENT), 5, lane=LIVE, batch=2)
    assert ledger.mark_dirty(marks()) == 3


def test_a_mark_at_once_waits_for_no_batch_and_clears(ledger: Ledger) -> None:
    ledger.mark_dirty(marks((1, JUNE_1)), at_once=True)
    assert ledger.dirty().rows() == [(1, JUNE_1, 0)]
    ledger.clear_dirty(ledger.dirty())
    assert ledger.dirty().is_empty()


def test_clearing_takes_what_was_worked_on_and_no_later_mark(ledger: Ledger) -> None:
    settled(ledger, batch=ledger.mark_dirty(marks((1, JUNE_1), (2, JUNE_1))))
    work = ledger.dirty()
    batch = ledger.mark_dirty(marks((1, JUNE_1)))  # comes in while the work goes on
    ledger.clear_dirty(work)
    assert ledger.dirty().is_empty()  # its batch is not settled yet
    settled(ledger, batch=batch)
    assert ledger.dirty().rows() == [(1, JUNE_1, batch)]
    ledger.clear_dirty(ledger.dirty())
    assert ledger.dirty().is_empty()


def test_a_day_that_each_batch_marks_again_is_still_worked_on(ledger: Ledger) -> None:
    done = []
    for _ in range(5):
        batch = ledger.mark_dirty(marks((1, JUNE_1)))
        work = ledger.dirty()  # at this moment there is always a batch under way
        done += work["mark"].to_list()
        ledger.clear_dirty(work)
        settled(ledger, batch=batch)
    assert done == [1, 2, 3, 4]
    assert ledger.dirty().rows() == [(1, JUNE_1, 5)]


def test_what_a_batch_marked_before_a_crash_counts_with_whatever_is_settled_next(ledger: Ledger) -> None:
    ledger.mark_dirty(marks((1, JUNE_1)))  # then a crash; a batch of the other lane comes first
    settled(ledger, batch=ledger.mark_dirty(marks((2, JUNE_1))))
    assert ledger.dirty()["register_key"].to_list() == [1, 2]
    ledger.clear_dirty(ledger.dirty())
    settled(ledger, batch=ledger.mark_dirty(marks((1, JUNE_1))))  # the batch comes again, and what it marks is worked on again
    assert ledger.dirty()["register_key"].to_list() == [1]


# --- lanes --------------------------------------------------------------------------------------------------------------

def test_each_lane_has_a_cursor_and_a_memory_of_its_own(ledger: Ledger) -> None:
    ledger.settle(empty(SETTLEMENT), 7, memory={"a": "1", "b": "2"})
    ledger.settle(empty(SETTLEMENT), 4, lane=HISTORY, memory={"a": "3"})
    ledger.settle(empty(SETTLEMENT), 8, memory={"b": None, "c": "4"})
    assert ledger.cursors() == {LIVE: 8, HISTORY: 4}
    assert (ledger.memory(), ledger.memory(HISTORY)) == ({"a": "1", "c": "4"}, {"a": "3"})


def test_what_was_settled_comes_in_the_order_of_settling_though_its_messages_are_older(ledger: Ledger) -> None:
    for lane, messages in ((LIVE, (1, 5)), (HISTORY, (2, 3)), (LIVE, (6,)), (HISTORY, (4,))):
        ledger.settle(pl.DataFrame([settlement(message) for message in messages], schema=SETTLEMENT), messages[-1], lane=lane)
    found = ledger.settled(0, 10)
    assert found.schema == SETTLED
    assert found.select("message", "position").rows() == [(1, 1), (5, 2), (2, 3), (3, 4), (6, 5), (4, 6)]
    for after in range(7):
        for limit in range(1, 7):
            assert ledger.settled(after, limit).equals(found.filter(pl.col("position") > after).head(limit))
    assert ledger.runs() == [(LIVE, 5), (HISTORY, 3), (LIVE, 6), (HISTORY, 4)]
    assert ledger.settlements(2, 2)["message"].to_list() == [3, 4]


def test_what_is_settled_in_many_batches_of_a_lane_is_one_run_until_it_is_long(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_RUN", 5)
    for message in range(1, 13, 2):
        settled(ledger, settlement(message), settlement(message + 1))
    assert ledger.runs() == [(LIVE, 6), (LIVE, 12)]
    for after in range(12):
        assert ledger.settled(after, 5).select("message", "position").rows() == [(n, n) for n in range(after + 1, min(after + 6, 13))]


OLD = """
    CREATE TABLE settlement (
        message INTEGER PRIMARY KEY, outcome TEXT NOT NULL, reason TEXT, enterprise TEXT, gateway TEXT, epoch TEXT, seq INTEGER,
        decoded INTEGER NOT NULL, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, conflicting INTEGER NOT NULL, rejected INTEGER NOT NULL);
    CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE dirty (
        register_key INTEGER NOT NULL, day INTEGER NOT NULL, oldest INTEGER NOT NULL, newest INTEGER NOT NULL,
        PRIMARY KEY (register_key, day)) WITHOUT ROWID;
    INSERT INTO settlement VALUES (3, 'decoded', NULL, 'E', 'g', 'e', 1, 10, 10, 0, 0, 0), (8, 'decoded', NULL, 'E', 'g', 'e', 2, 10, 10, 0, 0, 0);
    INSERT INTO number VALUES ('cursor', 8), ('receipt_cursor', 3), ('received', 2), ('decoded', 20), ('stored', 20);
    INSERT INTO dirty VALUES (1, 20605, 8, 8), (2, 20605, 9, 9)"""


def test_a_ledger_without_lanes_goes_on_and_resends_no_receipt(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as db:
        db.executescript(OLD)
    for _ in range(2):
        ledger = Ledger(tmp_path / "old.sqlite")
        assert ledger.cursors() == {LIVE: 8, HISTORY: 0}
        assert (ledger.totals().received, ledger.totals().stored) == (2, 20)
        assert ledger.settled(ledger.receipt_cursor(), 10)["message"].to_list() == [8]
        assert ledger.dirty()["register_key"].to_list() == [1, 2]
        ledger.close()
    ledger = Ledger(tmp_path / "old.sqlite")
    settled(ledger, settlement(9, 3), batch=ledger.mark_dirty(marks((3, JUNE_1))))
    assert ledger.settled(0, 10).select("message", "position").rows() == [(3, 1), (8, 2), (9, 3)]
    assert ledger.dirty()["register_key"].to_list() == [1, 2, 3]
    ledger.close()
