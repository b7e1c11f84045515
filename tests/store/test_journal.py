import io
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import JournalCorruptError, StoreFullError, StoreUnavailableError
from store import journal as journal_module
from store.chain import Break
from store.journal import HISTORY, LANES, LIVE, Arrival, Journal
from tests.small_disk import small_disk

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def arrival(payload: bytes = b"{}", **others: object) -> Arrival:
    usual = {"door": "mqtt", "topic": "tce/v1/150600/E/g/readings", "identity": "g", "content_type": None, "received_at": NOON}
    return Arrival(payload=payload, **(usual | others))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    journal = Journal(folder)
    yield journal
    journal.close()


def change(folder: Path, statement: str, *parameters: object, day: str = "2026-11-21") -> None:
    """What somebody with a database tool could do."""
    db = sqlite3.connect(folder / f"{day}.sqlite")
    with db:
        db.execute(statement, parameters)
    db.close()


# --- keeping ------------------------------------------------------------------------------------------------------------

def test_a_message_comes_back_as_it_came(journal: Journal) -> None:
    came = [
        arrival(bytes(range(256)), identity=None, content_type="application/json+gzip", retained=True, received_at=NOON.replace(microsecond=123_457)),
        arrival(b"", door="http", topic="数据/气", identity="市政\x00", received_at=NOON.astimezone(timezone(timedelta(hours=8)))),
    ]
    ids = journal.append(came)
    assert ids == [1, 2]
    for message, arrived in zip(journal.read(0, 10), came, strict=True):
        assert message[1:] == (*arrived[:6], arrived.retained, arrived.lane)
        assert journal.get(message.id) == message


def test_a_topic_that_is_no_unicode_does_not_stop_the_journal(journal: Journal) -> None:
    assert journal.append([arrival(topic="a\udcffb", identity="\udc80"), arrival()]) == [1, 2]
    assert [message.topic for message in journal.read(0, 1)] == ["a\\udcffb"]
    assert journal.verify().intact


def test_an_empty_journal_has_nothing(journal: Journal) -> None:
    assert journal.append([]) == []
    assert (journal.last_id(), journal.read(0, 10), journal.get(1), journal.verify()) == (0, [], None, (0, ()))


def test_ids_rise_across_days_and_reading_crosses_them(folder: Path, journal: Journal) -> None:
    for day in range(8):  # more segments than are held open
        assert journal.append([arrival(received_at=NOON + day * DAY)] * 3) == [3 * day + 1, 3 * day + 2, 3 * day + 3]
    assert len(list(folder.glob("2026-11-2?.sqlite"))) == 8
    assert [message.id for message in journal.read(4, 12)] == list(range(5, 17))
    assert [message.id for message in journal.read(22, 100)] == [23, 24]
    assert journal.read(24, 100) == []
    assert journal.get(7) is not None
    assert journal.get(25) is None
    assert (journal.last_id(), journal.verify()) == (24, (24, ()))


def test_a_message_belongs_to_the_utc_day_of_its_arrival(folder: Path, journal: Journal) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    journal.append([arrival(received_at=midnight - timedelta(microseconds=1))])
    journal.append([arrival(received_at=midnight)])
    assert sorted(path.name for path in folder.glob("????-??-??.sqlite")) == ["2026-11-21.sqlite", "2026-11-22.sqlite"]


def test_a_clock_that_jumps_back_breaks_neither_ids_nor_chain(journal: Journal) -> None:
    for days in (0, 3, -5, 1, 3, 4):
        journal.append([arrival(received_at=NOON + days * DAY)])
    assert [message.received_at for message in journal.read(0, 10)] == [NOON + days * DAY for days in (0, 3, -5, 1, 3, 4)]
    assert journal.verify() == (6, ())


def test_a_journal_opened_again_goes_on(folder: Path, journal: Journal) -> None:
    journal.append([arrival(), arrival()])
    again = Journal(folder)
    assert again.append([arrival()]) == [3]
    assert journal.append([arrival()]) == [4]
    assert [message.id for message in again.read(0, 10)] == [1, 2, 3, 4]
    assert again.verify().intact
    again.close()


def test_a_reader_finds_the_days_that_another_writer_begins(folder: Path, journal: Journal) -> None:
    reader = Journal(folder)
    for day in range(3):
        journal.append([arrival(received_at=NOON + day * DAY)])
        assert reader.last_id() == day + 1
        assert [message.id for message in reader.read(day, 10)] == [day + 1]
    reader.close()


def test_several_processes_append_over_midnight_without_a_gap_or_a_repeat(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from datetime import timedelta; from store.journal import Journal\n"
        "from tests.store.test_journal import NOON, arrival\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for n in range(60): journal.append([arrival(b'%d' % n, received_at=NOON + timedelta(hours=n / 2))] * 5)\n"
        "journal.close()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(folder)]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    journal = Journal(folder)
    assert [message.id for message in journal.read(0, 10_000)] == list(range(1, 901))
    assert journal.verify() == (900, ())
    journal.close()


def test_threads_read_while_one_appends(journal: Journal) -> None:
    thread = threading.Thread(target=lambda: [journal.append([arrival(b"%d" % n)] * 10) for n in range(50)])
    thread.start()
    seen = 0
    while thread.is_alive() or seen < 500:
        found = [message.id for message in journal.read(seen, 100)]
        assert found == list(range(seen + 1, seen + 1 + len(found)))
        assert len(found) % 10 == 0  # whole transactions
        seen += len(found)
    thread.join()


# --- lanes --------------------------------------------------------------------------------------------------------------

def test_each_lane_is_read_in_order_over_days_and_ids_rise_over_both(folder: Path, journal: Journal) -> None:
    for day in range(3):
        journal.append([arrival(lane=lane, received_at=NOON + day * DAY) for lane in (LIVE, HISTORY, HISTORY, LIVE)])
    both = [message.id for message in journal.read(0, 100)]
    live, history = [[message.id for message in journal.read(0, 100, lane)] for lane in LANES]
    assert (live, history, both) == ([1, 4, 5, 8, 9, 12], [2, 3, 6, 7, 10, 11], list(range(1, 13)))
    assert [message.id for message in journal.read(4, 3, HISTORY)] == [6, 7, 10]
    assert {message.lane for message in journal.read(0, 100, HISTORY)} == {HISTORY}
    assert [journal.count(6, lane) for lane in LANES] == [3, 3]
    assert journal.verify() == (12, ())


def test_a_message_moved_to_another_lane_is_found(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"%d" % n, lane=n % 2) for n in range(4)])
    for message in (2, 3):
        change(folder, "UPDATE message SET lane = 1 - lane WHERE id = ?", message)
        assert journal.verify().broken[0].message == 2


# A segment as version 1 wrote it: two messages, with the chain values that it gave them.
VERSION_1 = """
    CREATE TABLE origin (previous_id INTEGER NOT NULL, previous_chain BLOB NOT NULL);
    CREATE TABLE message (
        id INTEGER PRIMARY KEY, door TEXT NOT NULL, topic TEXT NOT NULL, identity TEXT, content_type TEXT, received_us INTEGER NOT NULL,
        mid INTEGER NOT NULL, retained INTEGER NOT NULL,
        mqtt_rows INTEGER NOT NULL,
        digest BLOB NOT NULL, chain BLOB NOT NULL, payload BLOB NOT NULL);
    CREATE INDEX redelivered ON message (mid, digest) WHERE mid > 0;
    INSERT INTO origin VALUES (0, zeroblob(32));
    INSERT INTO message VALUES (1, 'mqtt', 't', NULL, NULL, 1795262400000000, 7, 0, 1,
        x'bc6f9628ae35013a85e6690988f42959a083d5c67d20dddc7b3c41f76222d69b', x'e66285605a3c16a5d612698ea667cd3ca4081fa4b8751b3b4aaeb3189d8cb29e',
        x'61');
    INSERT INTO message VALUES (2, 'mqtt', 't', 'g', NULL, 1795262400000001, 8, 0, 2,
        x'ef7d21565aeb99d3811b83445ef927ed4cc9efd7267b1695120822c4c5333dfe', x'8f0179d3421f55347767f029c45e2804ed85803c850270eebd7e85dbe655201d',
        x'62');
    PRAGMA user_version = 1"""


@pytest.fixture
def old(folder: Path) -> Iterator[Journal]:
    folder.mkdir()
    with closing(sqlite3.connect(folder / "2026-11-21.sqlite")) as db:
        db.executescript(VERSION_1)
    journal = Journal(folder)
    yield journal
    journal.close()


def test_a_segment_of_version_1_is_all_live_and_holds(old: Journal) -> None:
    assert [(message.id, message.payload, message.lane) for message in old.read(0, 9, LIVE)] == [(1, b"a", LIVE), (2, b"b", LIVE)]
    assert old.read(0, 9) == old.read(0, 9, LIVE)
    assert (old.read(0, 9, HISTORY), old.count(0, LIVE), old.count(0, HISTORY), old.verify()) == ([], 2, 0, (2, ()))


def test_a_segment_of_version_1_goes_on_with_lanes_on_its_day_and_stays_as_it_is_afterwards(folder: Path, old: Journal) -> None:
    assert old.append([arrival(b"a", topic="t", mid=7, dup=True, received_at=NOON + DAY)]) == [1]
    assert old.append([arrival(received_at=NOON + DAY, lane=HISTORY)]) == [3]
    with closing(sqlite3.connect(folder / "2026-11-21.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert [message.id for message in old.read(0, 9, HISTORY)] == [3]
    assert old.verify() == (3, ())


def test_a_segment_of_version_1_is_brought_to_version_2_by_what_is_added_on_its_day(folder: Path, old: Journal) -> None:
    other = Journal(folder)
    other.read(0, 9)
    assert old.append([arrival(lane=HISTORY), arrival()]) == [3, 4]
    for journal in (old, other):
        assert [[message.id for message in journal.read(0, 9, lane)] for lane in LANES] == [[1, 2, 4], [3]]
        assert journal.verify() == (4, ())
    other.close()


# --- redelivery ---------------------------------------------------------------------------------------------------------

def test_a_redelivery_is_the_message_that_is_there_also_after_a_restart(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"1", mid=1), arrival(b"2", mid=2)])
    assert journal.append([arrival(b"2", mid=2, dup=True), arrival(b"3", mid=3)]) == [2, 3]
    again = Journal(folder)
    assert again.append([arrival(b"1", mid=1, dup=True), arrival(b"3", mid=3, dup=True)]) == [1, 3]
    assert again.last_id() == 3
    again.close()


def test_a_redelivery_within_one_batch_and_on_the_next_day_is_found(journal: Journal) -> None:
    assert journal.append([arrival(b"1", mid=1), arrival(b"1", mid=1, dup=True)]) == [1, 1]
    assert journal.append([arrival(b"1", mid=1, dup=True, received_at=NOON + DAY)]) == [1]
    assert journal.append([arrival(b"2", mid=2, received_at=NOON + DAY), arrival(b"1", mid=1, dup=True, received_at=NOON + DAY)]) == [2, 1]
    assert journal.append([arrival(b"1", mid=1, dup=True, received_at=NOON + 2 * DAY), arrival(b"3", mid=3, received_at=NOON + 2 * DAY)]) == [1, 3]


@pytest.mark.parametrize(
    "other", [{"dup": False}, {"mid": 8}, {"payload": b"y"}, {"topic": "tce/v1/150600/E/h/readings"}, {"door": "http"}, {"mid": 0}],
    ids=["a gateway's own repetition", "packet id", "payload", "topic", "door", "no packet id"],
)
def test_what_differs_is_a_new_message(journal: Journal, other: dict[str, object]) -> None:
    journal.append([arrival(b"x", mid=7)])
    assert journal.append([arrival(**{"payload": b"x", "mid": 7, "dup": True} | other)]) == [2]  # type: ignore[arg-type]


@pytest.mark.parametrize(("between", "expected"), [(3, [1]), (4, [6])])
@pytest.mark.parametrize("days", [0, 1])
def test_a_redelivery_is_looked_for_among_so_many_mqtt_messages_only(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, between: int, expected: list[int], days: int
) -> None:
    monkeypatch.setattr(journal_module, "REDELIVERY_WINDOW", 4)
    journal.append([arrival(b"x", mid=1)])
    journal.append([arrival(b"y", mid=2 + n, received_at=NOON + days * DAY) for n in range(between)])
    if between == 3:
        journal.append([arrival(door="http", received_at=NOON + days * DAY)] * 9)  # other doors do not count
    assert journal.append([arrival(b"x", mid=1, dup=True, received_at=NOON + days * DAY)]) == expected


# --- a full disk, a crash -----------------------------------------------------------------------------------------------

def test_a_full_journal_keeps_nothing_of_the_batch_and_goes_on_when_there_is_room(journal: Journal) -> None:
    journal.append([arrival()])
    assert journal._writer is not None
    db = journal._writer[1]
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 1}")
    with pytest.raises(StoreFullError, match=r"2026-11-21\.sqlite is full.*No message is acknowledged"):
        journal.append([arrival(bytes(50_000))] * 20)
    assert journal.last_id() == 1
    db.execute("PRAGMA max_page_count = 1000000")
    assert journal.append([arrival(bytes(50_000))] * 20) == list(range(2, 22))
    assert journal.verify() == (21, ())


def test_a_full_disk_is_told_and_the_journal_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        journal = Journal(disk / "journal")
        kept = 0
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1 << 20))
        for day in range(3):  # full within a segment, and when a new one begins
            with pytest.raises(StoreFullError):  # noqa: PT012 - which append it is depends on the disk
                while True:
                    kept = journal.append([arrival(bytes(20_000), received_at=NOON + day * DAY)] * 5)[-1]
            with pytest.raises(StoreFullError):
                journal.append([arrival(bytes(200_000), received_at=NOON + (day + 1) * DAY)] * 5)
            assert journal.last_id() == kept
            if day == 0:
                ballast.unlink()
                kept = journal.append([arrival(bytes(100), received_at=NOON)])[-1]
            elif day == 1:
                (disk / "journal" / "2026-11-21.sqlite").unlink()  # archived elsewhere
        assert journal.verify().checked > 0
        assert journal.verify().intact
        journal.close()


@pytest.mark.parametrize("moment", range(3))
def test_what_was_answered_is_there_after_a_kill(folder: Path, moment: int) -> None:
    code = (
        "import sys; from pathlib import Path; from store.journal import Journal; from tests.store.test_journal import arrival\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "while True: print(journal.append([arrival(bytes(5000))] * 7)[-1], flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        answered = [int(process.stdout.readline()) for _ in range(5 + moment * 13)][-1]
        process.kill()
        answered = max([answered, *[int(line) for line in process.stdout.read().split("\n")[:-1]]])
    journal = Journal(folder)
    assert journal.last_id() in (answered, answered + 7)
    assert journal.verify().intact
    assert journal.append([arrival()]) == [journal.last_id()]
    journal.close()


def test_a_crash_between_a_segment_and_its_head_is_caught_up(folder: Path, journal: Journal) -> None:
    journal.append([arrival(mid=1)])
    journal.close()
    shutil.copy(folder / "head.sqlite", folder / "head.before")
    journal = Journal(folder)
    journal.append([arrival(mid=2), arrival(mid=3)])
    journal.close()
    (folder / "head.before").replace(folder / "head.sqlite")
    journal = Journal(folder)
    assert journal.append([arrival(mid=3, dup=True), arrival()]) == [3, 4]
    assert journal.verify() == (4, ())
    journal.close()


def test_a_lost_head_is_made_again_from_the_segments(folder: Path, journal: Journal) -> None:
    journal.append([arrival()])
    journal.append([arrival(received_at=NOON + DAY)])
    journal.close()
    for path in folder.glob("head.*"):
        path.unlink()
    journal = Journal(folder)
    assert journal.append([arrival()]) == [3]
    assert journal.verify() == (3, ())
    journal.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "head.sqlite").mkdir()
    with pytest.raises(StoreUnavailableError, match=r"head\.sqlite"):
        Journal(tmp_path / "journal")


def test_less_free_space_than_the_reserve_keeps_nothing_and_goes_on_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        journal = Journal(disk / "journal", reserve_bytes=4 << 20)
        assert journal.append([arrival()]) == [1]
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(5 << 20))
        for _ in range(2):
            with pytest.raises(StoreFullError, match="less than 4 MB are free, which are kept in reserve"):
                journal.append([arrival()])
        without = Journal(disk / "journal")
        assert without.append([arrival()]) == [2]  # SQLite itself is far from full
        without.close()
        ballast.unlink()
        assert journal.append([arrival()]) == [3]
        assert journal.verify() == (3, ())
        journal.close()


# --- archive ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def week(folder: Path) -> Iterator[Journal]:
    """Six days of three messages, of which the first four are archived."""
    journal = Journal(folder)
    for day in range(6):
        journal.append([arrival(b"%d/%d" % (day, n) * 50, mid=3 * day + n + 1, lane=n % 2, received_at=NOON + day * DAY) for n in range(3)])
    before = journal.read(0, 100)
    for name in journal.closed_segments()[:4]:
        assert journal.archive(name, settled=18)
    assert journal.read(0, 100) == before
    yield journal
    journal.close()


def days_in(folder: Path) -> dict[str, list[int]]:
    """Days of the segments by suffix, and nothing else is in the folder."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("head"):
            name, _, suffix = path.name.partition(".")
            found.setdefault(suffix, []).append(int(name[-2:]))
    return {suffix: days for suffix, days in found.items() if not suffix.startswith("sqlite-")}


def test_archived_segments_are_packed_and_read_like_any_other(folder: Path, week: Journal) -> None:
    assert days_in(folder) == {"sqlite.zst": [21, 22, 23, 24], "sqlite": [25, 26]}
    assert week.closed_segments() == ["2026-11-25.sqlite"]  # today's is written to
    again = Journal(folder)
    for journal in (week, again):
        assert [message.id for message in journal.read(0, 100)] == list(range(1, 19))
        assert [message.id for message in journal.read(4, 5, HISTORY)] == [5, 8, 11, 14, 17]
        assert [message.id for message in journal.read(7, 2, LIVE)] == [9, 10]
        assert [journal.get(message).payload[:3] for message in (1, 12, 18)] == [b"0/0", b"3/2", b"5/2"]  # type: ignore[union-attr]
        assert (journal.count(0, HISTORY), journal.count(0, LIVE), journal.last_id()) == (6, 12, 18)
        assert journal.verify() == (18, ())
    assert week.append([arrival(received_at=NOON + 5 * DAY)]) == [19]
    again.close()
    assert days_in(folder) == {"sqlite.zst": [21, 22, 23, 24], "sqlite": [25, 26]}  # no copy stays


def test_reading_new_messages_unpacks_nothing(week: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Journal(week._folder)
    monkeypatch.setattr(Journal, "_open_archive", lambda *_: pytest.fail("unpacked"))
    assert [message.id for message in again.read(12, 100)] == list(range(13, 19))
    assert again.get(15) is not None
    assert (again.last_id(), again.count(12, LIVE)) == (18, 4)
    assert again.append([arrival(b"x", mid=9, dup=True, received_at=NOON + 5 * DAY)]) == [19]
    again.close()


def test_a_reader_that_had_the_plain_file_open_goes_on(folder: Path) -> None:
    journal = Journal(folder)
    for day in range(2):
        journal.append([arrival(received_at=NOON + day * DAY)] * 3)
    reader = Journal(folder)
    assert len(reader.read(0, 2)) == 2
    journal.archive("2026-11-21.sqlite", settled=1000)
    assert [message.id for message in reader.read(0, 9)] == [1, 2, 3, 4, 5, 6]
    assert reader.verify() == (6, ())
    journal.close()
    reader.close()


def test_zstd_s_own_tools_unpack_an_archive_to_the_segment(folder: Path, week: Journal) -> None:
    packed = (folder / "2026-11-22.sqlite.zst").read_bytes()
    unpacked = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True).read()
    assert unpacked[:15] == b"SQLite format 3"
    assert len(packed) < len(unpacked) / 10
    (folder / "2026-11-22.sqlite").write_bytes(unpacked)  # as one who wants it back would do
    assert week.verify() == (18, ())


def test_a_segment_with_a_message_that_is_not_settled_or_without_messages_stays(folder: Path) -> None:
    journal = Journal(folder)
    for day in range(2):
        journal.append([arrival(received_at=NOON + day * DAY)] * 3)
    assert not journal.archive("2026-11-21.sqlite", settled=2)
    assert days_in(folder) == {"sqlite": [21, 22]}
    (folder / "2026-11-20.sqlite").write_bytes(b"")  # begun, and then the machine stopped
    assert not journal.archive("2026-11-20.sqlite", settled=6)
    assert journal.archive("2026-11-21.sqlite", settled=3)
    journal.close()


class EndedError(BaseException):
    """The process ended here."""


def ends(*_: object, **__: object) -> None:
    raise EndedError


@pytest.mark.parametrize("step", ["copy_stream", "fsync", "unpack", "rename", "sync", "unlink_first", "unlink_second"])
def test_an_archiving_cut_short_anywhere_loses_nothing_and_is_begun_again(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    journal = Journal(folder)
    for day in range(2):
        journal.append([arrival(b"%d" % day, received_at=NOON + day * DAY)] * 3)
    with monkeypatch.context() as patch:
        match step:
            case "copy_stream":
                patch.setattr(zstandard, "ZstdCompressor", lambda **_: SimpleNamespace(copy_stream=ends))
            case "fsync":
                patch.setattr(os, "fsync", ends)
            case "unpack":
                patch.setattr(Journal, "_open_archive", ends)
            case "rename":
                patch.setattr(Path, "replace", ends)
            case "sync":
                patch.setattr(journal_module, "sync", ends)
            case _:
                original, seen = Path.unlink, list[str]()

                def unlink(path: Path, *, missing_ok: bool = False) -> None:
                    if path.name.endswith(".sqlite" if step == "unlink_first" else ".sqlite-wal"):
                        seen.append(path.name)
                        raise EndedError
                    original(path, missing_ok=missing_ok)

                patch.setattr(Path, "unlink", unlink)
        with pytest.raises(EndedError):
            journal.archive("2026-11-21.sqlite", settled=1000)
    journal.close()
    journal = Journal(folder)
    assert [message.id for message in journal.read(0, 9)] == [1, 2, 3, 4, 5, 6]
    assert journal.verify() == (6, ())
    for name in journal.closed_segments():
        journal.archive(name, settled=6)
    journal._tidy()
    assert days_in(folder) == {"sqlite.zst": [21], "sqlite": [22]}
    assert [path.name for path in folder.glob("2026-11-21*")] == ["2026-11-21.sqlite.zst"]
    assert journal.verify() == (6, ())
    journal.close()


@pytest.mark.parametrize("where", [4, 9, 200, -3])
def test_a_damaged_archive_is_told_by_name(folder: Path, week: Journal, where: int) -> None:
    path = folder / "2026-11-23.sqlite.zst"
    content = bytearray(path.read_bytes())
    content[where] ^= 0xFF
    path.write_bytes(content)
    week.close()
    again = Journal(folder)
    broken = again.verify().broken
    assert broken
    assert {place.segment for place in broken} <= {"2026-11-23.sqlite", "2026-11-24.sqlite"}
    again.close()


def test_a_segment_that_is_not_as_it_was_written_is_not_archived(folder: Path) -> None:
    journal = Journal(folder)
    for day in range(2):
        journal.append([arrival(b"%d" % n, received_at=NOON + day * DAY) for n in range(5)])
    change(folder, "UPDATE message SET payload = 'x' WHERE id = 3")
    with pytest.raises(JournalCorruptError, match="from message 3 on"):
        journal.archive("2026-11-21.sqlite", settled=1000)
    assert days_in(folder) == {"sqlite": [21, 22]}
    assert len(journal.read(0, 100)) == 10
    journal.close()


def test_a_segment_that_is_being_read_is_archived_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.sqlite.BUSY_TIMEOUT_S", 0.05)
    journal = Journal(folder)
    journal.append([arrival()] * 3)
    with closing(sqlite3.connect(folder / "2026-11-21.sqlite")) as db:
        rows = db.execute("SELECT * FROM message")
        rows.fetchone()
        journal.append([arrival(received_at=NOON + DAY)] * 3)
        with pytest.raises(StoreUnavailableError, match="archived later"):
            journal.archive("2026-11-21.sqlite", settled=1000)
        rows.close()
    journal.archive("2026-11-21.sqlite", settled=1000)
    assert days_in(folder) == {"sqlite.zst": [21], "sqlite": [22]}
    journal.close()


def test_a_disk_without_room_for_the_archive_or_a_copy_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        journal = Journal(disk / "journal")
        journal.append([arrival(os.urandom(20_000))] * 100)
        journal.append([arrival(received_at=NOON + DAY)])
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - (2 << 20)))
        with pytest.raises(StoreFullError):
            journal.archive("2026-11-21.sqlite", settled=1000)
        assert journal.verify() == (101, ())
        assert days_in(disk / "journal") == {"sqlite": [21, 22]}
        ballast.unlink()
        journal.archive("2026-11-21.sqlite", settled=1000)
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - (1 << 20)))
        again = Journal(disk / "journal")
        with pytest.raises(StoreFullError):
            again.get(1)
        ballast.unlink()
        assert again.get(1) is not None
        again.close()
        journal.close()


def test_copies_that_a_crash_has_left_are_removed(folder: Path, week: Journal) -> None:
    old, new = folder / "unpacked-old", folder / "unpacked-new"
    for path, age_s in ((old, 4000), (new, 3000)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - age_s,) * 2)
    week.archive("2026-11-25.sqlite", settled=1000)
    assert (old.exists(), new.exists()) == (False, True)


# --- evidence -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    "column", ["door", "topic", "identity", "content_type", "received_us", "mid", "retained", "lane", "digest", "chain", "payload"]
)
def test_an_edited_field_is_found_with_its_message(folder: Path, journal: Journal, column: str) -> None:
    journal.append([arrival(b"%d" % n, mid=n + 1) for n in range(9)])
    edited = f"CAST({column} || 'x' AS BLOB)" if column in ("digest", "chain", "payload") else f"coalesce({column}, '') || 'x'"
    change(folder, f"UPDATE message SET {column} = CASE typeof({column}) WHEN 'integer' THEN {column} + 1 ELSE {edited} END WHERE id = 5")
    check = journal.verify()
    assert (check.checked, check.broken[0].message) == (9, 5)
    assert len(check.broken) <= 2


def test_a_last_row_whose_chain_was_forged_with_it_is_told_by_the_head(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"%d" % n) for n in range(3)])
    journal.close()
    forger = Journal(folder.parent / "forged")
    forger.append([arrival(b"%d" % n) for n in (0, 1, 9)])
    forger.close()
    shutil.copy(folder.parent / "forged" / "2026-11-21.sqlite", folder / "2026-11-21.sqlite")
    opened = Journal(folder)
    assert opened.verify().broken == (Break("2026-11-21.sqlite", 3, "the row is not the one that the head remembers"),)
    opened.close()


def test_deleted_rows_are_found_with_their_numbers(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"%d" % n) for n in range(9)])
    change(folder, "DELETE FROM message WHERE id IN (4, 5)")
    assert journal.verify().broken[0] == Break("2026-11-21.sqlite", 4, "messages 4 to 5 are gone")


def test_swapped_rows_are_found(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"%d" % n) for n in range(9)])
    for old, new in ((4, -1), (5, 4), (-1, 5)):
        change(folder, "UPDATE message SET id = ? WHERE id = ?", new, old)
    assert {broken.message for broken in journal.verify().broken} >= {4, 5}


def test_a_changed_first_row_and_a_changed_origin_are_found(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"%d" % n) for n in range(3)])
    journal.append([arrival(b"%d" % n, received_at=NOON + DAY) for n in range(3)])
    change(folder, "UPDATE origin SET previous_chain = zeroblob(32)", day="2026-11-22")
    assert [broken.message for broken in journal.verify().broken] == [4, 4]


def test_a_lost_tail_is_told_by_the_head_and_its_numbers_are_not_given_again(folder: Path, journal: Journal) -> None:
    journal.append([arrival(b"%d" % n) for n in range(9)])
    change(folder, "DELETE FROM message WHERE id > 6")
    assert journal.verify().broken == (Break("2026-11-21.sqlite", 7, "the tail is gone: messages 7 to 9 were written or settled"),)
    assert journal.append([arrival()]) == [10]
    assert journal.verify().broken == (Break("2026-11-21.sqlite", 7, "messages 7 to 9 are gone"),)


def test_a_tail_lost_together_with_its_head_is_told_by_the_ledger_s_cursor_only(folder: Path, journal: Journal) -> None:
    journal.append([arrival()] * 5)
    journal.close()
    shutil.copytree(folder, folder.parent / "backup")
    journal = Journal(folder)
    journal.append([arrival()] * 4)
    journal.close()
    restored = Journal(folder.parent / "backup")
    assert restored.verify().intact  # nothing in the folder itself remembers
    assert restored.verify(settled=9).broken == (Break("2026-11-21.sqlite", 6, "the tail is gone: messages 6 to 9 were written or settled"),)
    restored.keep_ids_above(9)
    assert restored.append([arrival()]) == [10]
    restored.close()


def test_a_bit_that_flips_in_the_write_ahead_log_loses_the_rows_after_it_and_is_told(folder: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from store.journal import Journal; from tests.store.test_journal import arrival\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for n in range(40): journal.append([arrival(bytes(9000))])\n"
        "os._exit(0)\n"  # a crash: nothing is moved out of the log
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    log = folder / "2026-11-21.sqlite-wal"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    journal = Journal(folder)
    left = journal.last_id()
    assert left < 40
    assert journal.verify().broken[-1].message == left + 1
    assert journal.append([arrival()]) == [41]
    journal.close()


def test_a_segment_missing_in_between_is_found_and_one_archived_from_the_front_is_no_break(folder: Path, journal: Journal) -> None:
    for day in range(3):
        journal.append([arrival(received_at=NOON + day * DAY)] * 2)
    journal.close()
    (folder / "2026-11-21.sqlite").unlink()
    journal = Journal(folder)
    assert journal.verify() == (4, ())
    assert [message.id for message in journal.read(0, 10)] == [3, 4, 5, 6]
    journal.close()
    shutil.copy(folder / "2026-11-22.sqlite", folder / "2026-11-21.sqlite")
    (folder / "2026-11-22.sqlite").unlink()
    change(folder, "DELETE FROM message WHERE id = 4")
    journal = Journal(folder)
    assert journal.verify().broken[0].message == 5
    journal.close()


def spoil(path: Path) -> None:
    path.write_bytes(b"not a database, not any more" * 1000)


def test_an_old_segment_that_is_no_database_is_set_aside_and_the_others_are_read(folder: Path, journal: Journal) -> None:
    for day in range(3):
        journal.append([arrival(received_at=NOON + day * DAY)] * 2)
    journal.close()
    spoil(folder / "2026-11-22.sqlite")
    journal = Journal(folder)
    assert journal.verify().broken[0] == Break("2026-11-22.sqlite", 0, "the file cannot be read")
    assert [message.id for message in journal.read(4, 10)] == [5, 6], "it is not touched where it is not needed"
    assert journal.damaged() == []
    assert [message.id for message in journal.read(0, 10)] == [1, 2, 5, 6]
    assert journal.damaged() == ["2026-11-22.sqlite.damaged"]
    assert (journal.get(3), journal.count(0, LIVE), journal.last_id()) == (None, 6, 6)
    assert journal.append([arrival(received_at=NOON + 2 * DAY)]) == [7]
    assert [(where.segment, where.message) for where in journal.verify().broken] == [("2026-11-23.sqlite", 5), ("2026-11-22.sqlite.damaged", 0)]
    journal.close()


@pytest.mark.parametrize("is_only", [True, False])
def test_a_damaged_newest_segment_is_set_aside_and_writing_goes_on_under_another_name(folder: Path, journal: Journal, is_only: bool) -> None:
    if not is_only:
        journal.append([arrival(received_at=NOON - DAY)] * 2)
    before = journal.last_id()
    journal.append([arrival()] * 3)
    other = Journal(folder)  # of another process, which has it open
    assert len(other.read(0, 10)) == before + 3
    assert other.append([arrival()]) == [before + 4]
    journal.close()
    for end in ("-wal", "-shm"):
        (folder / f"2026-11-21.sqlite{end}").unlink(missing_ok=True)
    spoil(folder / "2026-11-21.sqlite")
    journal = Journal(folder)
    assert journal.append([arrival(b"new")]) == [before + 5], "no id is given twice"
    assert journal.damaged() == ["2026-11-21.sqlite.damaged"]
    assert other.append([arrival(b"of the other")]) == [before + 6]
    other.close()
    assert [message.payload for message in journal.read(before, 10)] == [b"new", b"of the other"]
    assert sorted(path.name for path in folder.glob("*.sqlite"))[-2:] == ["2026-11-22.sqlite", "head.sqlite"]
    told = journal.verify().broken
    assert [(where.segment, where.message) for where in told] == [("2026-11-22.sqlite", before + 1), ("2026-11-21.sqlite.damaged", 0)]
    journal.close()
    again = Journal(folder)
    assert again.last_id() == before + 6
    assert again.append([arrival(received_at=NOON + DAY)]) == [before + 7]
    again.close()


def test_a_damaged_page_within_a_segment_is_enough(folder: Path, journal: Journal) -> None:
    journal.append([arrival(os.urandom(5_000)) for _ in range(50)])
    journal.close()
    path = folder / "2026-11-21.sqlite"
    content = bytearray(path.read_bytes())
    content[6 * 16384 : 12 * 16384] = os.urandom(6 * 16384)
    path.write_bytes(content)
    journal = Journal(folder)
    assert journal.read(0, 100) == []
    assert journal.damaged() == ["2026-11-21.sqlite.damaged"]
    assert journal.append([arrival()]) == [51]
    journal.close()


def test_a_topic_that_is_no_text_any_more_is_damage_and_not_waited_for(folder: Path, journal: Journal) -> None:
    journal.append([arrival()])
    change(folder, "UPDATE message SET topic = CAST(x'746365ff' AS TEXT)")
    assert journal.read(0, 10) == []
    assert journal.damaged() == ["2026-11-21.sqlite.damaged"]


def test_a_damaged_archive_is_set_aside(folder: Path, week: Journal) -> None:
    spoil(next(folder.glob("2026-11-22*.zst")))
    week.close()
    again = Journal(folder)
    ids = [message.id for message in again.read(0, 1000)]
    assert ids
    assert again.damaged() == ["2026-11-22.sqlite.zst.damaged"]
    again.close()


@pytest.mark.parametrize("is_only", [True, False])
def test_a_newest_segment_that_is_lost_whole_is_told_also_when_new_messages_have_come(folder: Path, journal: Journal, is_only: bool) -> None:
    if not is_only:
        journal.append([arrival(received_at=NOON - DAY)] * 2)
    before = journal.last_id()
    journal.append([arrival()] * 3)
    journal.close()
    for path in folder.glob("2026-11-21.sqlite*"):
        path.unlink()
    journal = Journal(folder)
    assert journal.append([arrival()]) == [before + 4]
    assert journal.verify().broken == (Break("2026-11-21.sqlite", before + 1, f"messages {before + 1} to {before + 3} are gone"),)
    journal.close()


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_single_change_is_found_at_the_first_message_it_concerns(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("j")
    journal = Journal(folder)
    journal.append([arrival(b"payload %d" % n, mid=n + 1) for n in range(20)])
    target = data.draw(st.integers(1, 20))
    byte = data.draw(st.integers(0, 8))
    edits: list[Callable[[], None]] = [
        lambda: change(folder, "DELETE FROM message WHERE id = ?", target),
        lambda: change(folder, "UPDATE message SET received_us = received_us - ? WHERE id = ?", byte + 1, target),
        lambda: change(folder, "UPDATE message SET payload = substr(payload, 1, ?) WHERE id = ?", byte, target),
        lambda: change(folder, "UPDATE message SET topic = 'tce/v1/150600/F/g/readings' WHERE id = ?", target),
        lambda: change(folder, "UPDATE message SET id = id + 100 WHERE id = ?", target),
    ]
    data.draw(st.sampled_from(edits))()
    assert min(broken.message for broken in journal.verify().broken) == target
    journal.close()
