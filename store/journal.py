"""The journal: every raw message as it came, durable before anybody is told that it arrived.

One SQLite file for each UTC day (a segment), in WAL mode with synchronous=FULL. Each row carries
chain = SHA-256(chain of the row before + its own fields), over all segments, so that an edited, deleted, swapped or inserted
row is found. `head.sqlite` beside the segments holds the writers' lock and the last id and chain: it tells when the tail of
a segment is gone, which a chain alone cannot. It is written after the segment and may lag behind by one transaction, never
run ahead. Whoever can rewrite everything, head included, is found only by comparing with a chain value kept elsewhere.

Every message has a lane: a batch of live ones is settled first, then one of history. Ids rise over both. Segments of version 1
have no lanes: all their messages are live. The newest one is brought to version 2 when it is written to, older ones stay as they are.

An old segment may be archived: `YYYY-MM-DD.sqlite.zst` is the file as it was, packed, behind a frame that zstd skips and that tells
where its ids begin. It is read like any other, from a copy without a name that is gone with its connection.

A segment that turns out to be damaged is set aside under another name, and everything goes on without it: what was in it and not
settled is missing in its gateways' counts. Where it was the newest one, the next day's segment is begun early, so that no file
is ever made anew under a name that another process may still have open (SQLite would delete the new one's log by its name).
"""

import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import msgspec
import structlog
import zstandard

from config.errors import JournalCorruptError, StoreFullError, StoreUnavailableError
from store import segments
from store.chain import Break, ChainCheck, ChainWalk
from store.segments import NO_CHAIN, Row, Tail, chain_value, digest_of, storable, tail_of, version_of
from store.sqlite import NO_SPACE, DamagedFileError, connect, opened_copy, sync, told, transaction

LIVE, HISTORY = 0, 1  # lanes
LANES: Final = (LIVE, HISTORY)
REDELIVERY_WINDOW: Final = 65_536  # MQTT packet ids are 16 bits: a redelivery is never further back
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_HEAD: Final = "head.sqlite"
_SEGMENTS: Final = "????-??-??.sqlite"
_ARCHIVED: Final = ".zst"
_DAMAGED: Final = ".damaged"  # of a segment that is set aside
_PARTIAL: Final = ".partial"  # of an archive that is being written
_UNPACKED: Final = "unpacked-"  # a copy that is being opened
_LEFT_AFTER_S: Final = 3600.0  # a copy that has not been opened by then never will be
_BESIDE: Final = ("-wal", "-shm")
_OPEN_SEGMENTS: Final = 4
_HEAD_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS head (segment TEXT NOT NULL, id INTEGER NOT NULL, chain BLOB NOT NULL, mqtt_rows INTEGER NOT NULL)"""
_log: Final = structlog.get_logger("journal")
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Arrival(NamedTuple):
    """A message at the door."""

    door: str  # mqtt, http, file, manual, replay
    topic: str
    identity: str | None  # who the broker or the token says sent it
    content_type: str | None
    payload: bytes
    received_at: datetime
    mid: int = 0  # MQTT packet id, else 0
    dup: bool = False  # MQTT DUP flag
    retained: bool = False
    lane: int = LIVE


class Message(NamedTuple):
    """A message in the journal."""

    id: int
    door: str
    topic: str
    identity: str | None
    content_type: str | None
    payload: bytes
    received_at: datetime
    retained: bool
    lane: int = LIVE


def _without_damaged(method: Callable[Concatenate["Journal", _P], _R]) -> Callable[Concatenate["Journal", _P], _R]:
    """The method, begun again each time that it has met a damaged segment, which is set aside."""
    @wraps(method)
    def tried(journal: "Journal", /, *args: _P.args, **options: _P.kwargs) -> _R:
        while True:
            try:
                return method(journal, *args, **options)
            except JournalCorruptError as error:
                journal._set_aside(error)  # noqa: SLF001 - a part of the class
    return tried


class Journal:
    """Raw messages in order of arrival. Several processes may hold it open, and several may append."""

    def __init__(self, folder: Path, *, reserve_bytes: int = 0) -> None:
        """`reserve_bytes`: with less free space than that nothing is kept any more, before the disk is full for everybody."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._reserve_bytes = folder, reserve_bytes
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._writer: tuple[str, sqlite3.Connection] | None = None
        self._readers: dict[str, sqlite3.Connection] = {}
        self._names: list[str] = []
        self._previous_ids: dict[str, int] = {}
        with self._told(_HEAD):
            # Not synced: it is written after a segment's synced commit, and a head that lags only notices less.
            self._head = connect(folder / _HEAD, synchronous="NORMAL")
            self._head_reader = connect(folder / _HEAD, synchronous="NORMAL")
        try:
            with self._told(_HEAD), transaction(self._head) as head:
                head.execute(_HEAD_SCHEMA)
                if not head.execute("SELECT 1 FROM head").fetchone():
                    head.execute("INSERT INTO head VALUES ('', 0, ?, 0)", (NO_CHAIN,))
                self._meet_segments()
        except BaseException:
            self.close()
            raise

    @_without_damaged
    def append(self, arrivals: Sequence[Arrival]) -> list[int]:
        """Keep messages, all in one transaction; when it returns they survive a power cut.

        An arrival with `dup` whose packet id, topic and payload are those of one of the last 65,536 MQTT messages is that
        message, redelivered by the broker (MQTT 3.1.1 and 5, 4.4): it is not written again. A gateway's own repetition
        carries no `dup` and is a new message.

        Returns:
            One id for each arrival: rising, across segments; a redelivery's is that of the message it repeats.

        Raises:
            StoreFullError: nothing was kept; called again when there is room, it goes on.
            StoreUnavailableError: nothing was kept.
        """
        if not arrivals:
            return []
        self._check_room(0)
        day = max(arrival.received_at for arrival in arrivals).astimezone(UTC).date().isoformat()
        with self._writing, self._appending(day) as (name, db, tail, before):
            ids: list[int] = []
            rows: list[tuple[object, ...]] = []
            fresh: dict[tuple[int, bytes], int] = {}
            last_id, chain, mqtt_rows = tail
            for arrival in arrivals:
                door, topic, identity, content_type, payload, received_at, mid, dup, retained, lane = arrival
                topic = storable(topic)
                identity, content_type = identity and storable(identity), content_type and storable(content_type)
                digest = digest_of(topic, payload)
                is_mqtt = door == "mqtt" and mid > 0
                if dup and is_mqtt:
                    known = fresh.get((mid, digest)) or self._find(mid, digest, mqtt_rows - REDELIVERY_WINDOW)
                    if known is not None:
                        ids.append(known)
                        continue
                last_id += 1
                mqtt_rows += is_mqtt
                received_us = (received_at - _EPOCH) // _MICROSECOND
                kept_mid = mid if is_mqtt else 0
                chain = chain_value(chain, (last_id, door, topic, identity, content_type, received_us, kept_mid, retained), lane, digest)
                rows.append((last_id, door, topic, identity, content_type, received_us, kept_mid, retained, lane, mqtt_rows, digest, chain, payload))
                if is_mqtt:
                    fresh[mid, digest] = last_id
                ids.append(last_id)
            if rows:
                with told(self._folder / name), transaction(db):
                    segments.append(db, rows, before[:2])
                with suppress(sqlite3.Error):  # the messages are in; a head that lags is caught up with the next transaction
                    self._head.execute("UPDATE head SET id = ?, chain = ?, mqtt_rows = ?", (last_id, chain, mqtt_rows))
            return ids

    @_without_damaged
    def read(self, after: int, limit: int, lane: int | None = None, *, max_bytes: int | None = None) -> list[Message]:
        """Messages of a lane (None: of all) with an id above `after`, in order, at most `limit`.

        `max_bytes` bounds their payloads together; the first message is given whatever its size.

        Raises:
            StoreUnavailableError: a segment cannot be reached.
        """
        found: list[Message] = []
        room = sys.maxsize if max_bytes is None else max_bytes
        with self._reading:
            for name in self._segments_from(after):
                if len(found) == limit or room <= 0:
                    break
                with self._rows(name, lane, "id > ? ORDER BY id LIMIT ?", after, limit - len(found)) as rows:
                    for row in rows:
                        room -= len(row[5])  # its payload
                        if room < 0 and found:
                            break
                        found.append(_message(row))
        return found

    @_without_damaged
    def get(self, message: int) -> Message | None:
        """One message, or None where the journal has none of that id."""
        with self._reading:
            for name in self._segments_from(message - 1):
                with self._rows(name, None, "id = ?", message) as rows:
                    for row in rows:
                        return _message(row)
        return None

    @_without_damaged
    def addresses(self, messages: Collection[int]) -> dict[int, tuple[str, str]]:
        """Door and topic of messages, by id, as far as the journal has them; their payloads are not read."""
        found: dict[int, tuple[str, str]] = {}
        if not messages:
            return found
        wanted = msgspec.json.encode(sorted(messages)).decode()
        with self._reading:
            for name in self._segments_from(min(messages) - 1):
                with self._told(name):
                    query = "SELECT id, door, topic FROM message WHERE id IN (SELECT value FROM json_each(?))"
                    found |= {message: (door, topic) for message, door, topic in self._reader(name).execute(query, (wanted,))}
        return found

    @_without_damaged
    def count(self, after: int, lane: int) -> int:
        """How many messages a lane has above `after`; ids that were never given, after a lost tail, count as live ones."""
        history, last_id = 0, self.last_id()
        with self._reading:
            for name in self._segments_from(after):
                with self._told(name):
                    db = self._reader(name)
                    if version_of(db) > 1:
                        query = "SELECT count(*) FROM message INDEXED BY history WHERE lane = 1 AND id > ? AND id <= ?"
                        history += db.execute(query, (after, last_id)).fetchone()[0]
        return history if lane == HISTORY else max(0, last_id - after) - history

    @_without_damaged
    def last_id(self) -> int:
        """Id of the last message, 0 while there is none."""
        with self._reading:
            for name in reversed(self._segments()):
                with self._told(name):
                    if tail := tail_of(self._reader(name)):
                        return tail.id
        return 0

    def keep_ids_above(self, message: int) -> None:
        """Never give an id at or below this one again.

        For a start at which others remember more than the journal holds (a lost tail, an old backup): ids that already have
        a meaning elsewhere must not come to mean another message. The gap stays visible in `verify`.
        """
        with self._writing, told(self._folder / _HEAD):
            self._head.execute("UPDATE head SET id = ? WHERE id < ?", (message, message))

    def damaged(self) -> list[str]:
        """Names of the files that were set aside because they could not be read; they are evidence, and nothing reads them any more."""
        return sorted(path.name for path in self._folder.glob(f"*{_DAMAGED}"))

    def verify(self, *, settled: int = 0) -> ChainCheck:
        """Compare every message with its digest and the chain; `settled` is the ledger's cursor, where there is one.

        Found are edited, deleted, swapped and inserted rows, a segment that is missing in between, and a lost tail as far as
        the head or the ledger remembers it. Older segments that were archived from the front are not a break.
        """
        with self._reading, self._told(_HEAD):
            check = ChainWalk(*self._head_reader.execute("SELECT id, chain FROM head").fetchone())
        names = self._on_disk()
        for name in names:
            try:
                # Connections of its own: reading goes on beside a long check.
                with self._told(name), closing(self._open(name)) as db:
                    check.segment(name, db)
            except JournalCorruptError:
                check.broken.append(Break(name, 0, "the file cannot be read"))
                check.last = None
        check.end(names[-1] if names else "", settled)
        check.broken += [Break(name, 0, "the file could not be read and is set aside") for name in self.damaged()]
        return ChainCheck(check.checked, tuple(check.broken))

    def closed_segments(self) -> list[str]:
        """Names (YYYY-MM-DD.sqlite) of the segments that are written to no more and not archived yet, oldest first."""
        with self._reading, self._told(_HEAD):
            newest = self._head_reader.execute("SELECT segment FROM head").fetchone()[0]
        return sorted(path.name for path in self._folder.glob(_SEGMENTS) if path.name < newest)

    def archive(self, name: str, *, settled: int) -> bool:
        """Pack a closed segment, read it back, and take the plain file away. Cut short anywhere, it is begun again by the next call.

        Args:
            name: one of `closed_segments`.
            settled: messages up to this one are; a segment with others stays as it is.

        Returns:
            Whether it is archived: not where it has messages that are not settled, or none.

        Raises:
            JournalCorruptError: it is not as it was written; it stays as it is.
            StoreFullError, StoreUnavailableError: it stays as it is.
        """
        self._tidy()
        plain, packed = self._folder / name, self._folder / f"{name}{_ARCHIVED}"
        partial = packed.with_name(packed.name + _PARTIAL)
        with self._reading:
            self._drop_reader(name)
        try:
            with self._told(name), closing(connect(plain, synchronous="FULL", create=False)) as db:
                tail = tail_of(db)
                if tail is None or tail.id > settled:
                    return False
                if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise StoreUnavailableError(plain, "it is being read", "It is archived later.")
                previous_id, _ = segments.origin_of(db)
            segments.pack(plain, partial, previous_id)
            self._check_archive(name, partial, tail)
            partial.replace(packed)
            sync(self._folder)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StoreFullError(packed, error) from error
            raise StoreUnavailableError(packed, error, "Check that the folder is there and writable.") from error
        finally:
            partial.unlink(missing_ok=True)
        with self._reading:  # no one finds the plain file and loses it before it is open
            self._drop_reader(name)
            for end in ("", *_BESIDE):
                plain.with_name(name + end).unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Close all files."""
        with self._writing, self._reading:
            for db in (self._head, self._head_reader, *self._readers.values(), *(self._writer or ())[1:]):
                db.close()
            self._readers.clear()
            self._writer = None

    @contextmanager
    def _appending(self, day: str) -> Iterator[tuple[str, sqlite3.Connection, Tail, Tail]]:
        """The segment to append to, the row to continue from and the one before a new segment, under the lock of all processes' writers.

        Ids continue from the last one given, the chain from the last row that is there: what is gone in between is told by `verify`.
        """
        newest = _HEAD
        try:
            with told(self._folder / _HEAD):
                while True:
                    self._head.execute("BEGIN IMMEDIATE")
                    newest, *row = self._head.execute("SELECT segment, id, chain, mqtt_rows FROM head").fetchone()
                    tail = Tail(*row)
                    if newest and (last := tail_of(self._open_writer(newest))):
                        # Behind the head: the segment's own tail is lost. Its ids are not given again, the chain goes on.
                        tail = last if last.id >= tail.id else last._replace(id=tail.id)
                    if f"{day}.sqlite" <= newest:  # also where the clock has jumped back: ids must go on rising
                        break
                    # Committed before the segment has a row: no other process goes on with an older one.
                    self._head.execute("UPDATE head SET segment = ?, id = ?, chain = ?, mqtt_rows = ?", (f"{day}.sqlite", *tail))
                    self._head.execute("COMMIT")
            db = self._open_writer(newest)
            before = tail if version_of(db) else self._last_there()
            yield newest, db, before._replace(id=tail.id, mqtt_rows=tail.mqtt_rows), before
            with suppress(sqlite3.Error):
                self._head.execute("COMMIT")
        except DamagedFileError as error:
            raise JournalCorruptError(self._folder / newest, 0) from error
        finally:
            if self._head.in_transaction:
                self._head.execute("ROLLBACK")

    def _meet_segments(self) -> None:
        """Bring the head up to the segments where it lags or is new. Inside the head's lock."""
        names = self._on_disk()
        segment, head_id = self._head.execute("SELECT segment, id FROM head").fetchone()
        if not names or names[-1] < segment:
            return
        if names[-1] > segment:
            self._head.execute("UPDATE head SET segment = ?", (names[-1],))
        tail = self._last_there()
        if tail.id > head_id:
            self._head.execute("UPDATE head SET id = ?, chain = ?, mqtt_rows = ?", tail)

    def _last_there(self) -> Tail:
        """The last row that is really there, in a segment that can be read."""
        with self._reading:
            for name in reversed(self._on_disk()):
                with suppress(JournalCorruptError), self._told(name):
                    if tail := tail_of(self._reader(name)):
                        return tail
        return Tail(0, NO_CHAIN, 0)

    def _set_aside(self, error: JournalCorruptError) -> None:
        """Take a damaged segment out of the way, under the lock of all writers."""
        name = error.path.name
        if name == _HEAD:
            raise error
        with self._writing, self._reading:
            with self._told(_HEAD), transaction(self._head) as head:
                if head.execute("SELECT segment FROM head").fetchone()[0] == name:
                    following = date.fromisoformat(name.removesuffix(".sqlite")) + timedelta(days=1)
                    head.execute("UPDATE head SET segment = ?", (f"{following}.sqlite",))
                plain = self._folder / name
                found = plain if plain.exists() else plain.with_name(name + _ARCHIVED)
                for end in (*_BESIDE, ""):  # the file itself last: until it is gone, this is begun again after a crash
                    try:
                        found.with_name(found.name + end).rename(found.with_name(found.name + _DAMAGED + end))
                    except FileNotFoundError:
                        continue  # another process was first
                    except OSError as refusal:
                        raise StoreUnavailableError(found, refusal, "Check that the folder is writable.") from error
            _log.error("a segment cannot be read and is set aside", segment=name, reason=str(error.__cause__))
            self._drop_reader(name)
            if self._writer is not None and self._writer[0] == name:
                self._writer[1].close()
                self._writer = None
            self._names = []
            self._previous_ids.pop(name, None)

    def _find(self, mid: int, digest: bytes, floor: int) -> int | None:
        """Id of the newest MQTT message with that packet id and digest, not further back than `floor` counts."""
        query = "SELECT id FROM message WHERE mid = ? AND mid > 0 AND digest = ? AND mqtt_rows > ? ORDER BY id DESC LIMIT 1"
        with self._reading:
            for name in reversed(self._segments()):
                if not (self._folder / name).exists():  # archived: too long ago for a redelivery
                    break
                with self._told(name):
                    db = self._reader(name)
                    if not version_of(db):
                        continue
                    if row := db.execute(query, (mid, digest, floor)).fetchone():
                        return int(row[0])
                    if db.execute("SELECT mqtt_rows FROM message ORDER BY id LIMIT 1").fetchone()[0] <= floor:
                        break
        return None

    def _open_writer(self, name: str) -> sqlite3.Connection:
        if self._writer is None or self._writer[0] != name:
            if self._writer is not None:
                self._writer[1].close()
                self._writer = None
            self._writer = (name, connect(self._folder / name, synchronous="FULL"))
        return self._writer[1]

    def _reader(self, name: str) -> sqlite3.Connection:
        if name not in self._readers:
            while len(self._readers) >= _OPEN_SEGMENTS:
                self._readers.pop(next(iter(self._readers))).close()
            self._readers[name] = self._open(name)
        return self._readers[name]

    def _drop_reader(self, name: str) -> None:
        if name in self._readers:
            self._readers.pop(name).close()

    def _open(self, name: str) -> sqlite3.Connection:
        """A connection to read a segment by."""
        try:
            return connect(self._folder / name, synchronous="FULL", create=False)
        except StoreUnavailableError:
            if not (packed := self._folder / f"{name}{_ARCHIVED}").exists():
                self._names = []  # another process may have set it aside
                raise
            return self._open_archive(packed)

    def _open_archive(self, packed: Path) -> sqlite3.Connection:
        """An archive, unpacked into a file that has no name any more once it is open.

        Raises:
            DamagedFileError: it is not what was packed.
            StoreFullError: there is no room for it.
        """
        try:
            with packed.open("rb") as source:
                previous_id = segments.previous_id_of(source)
                self._check_room(segments.unpacked_bytes(source))
                with tempfile.NamedTemporaryFile(prefix=_UNPACKED, dir=self._folder) as target:
                    segments.unpack(source, target)
                    db = opened_copy(Path(target.name))
            if segments.origin_of(db)[0] != previous_id:
                db.close()
                raise DamagedFileError(f"{packed.name} does not begin where it says")
            return db
        except zstandard.ZstdError as error:
            raise DamagedFileError(f"{packed.name}: {error}") from error
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StoreFullError(packed, error) from error
            raise StoreUnavailableError(packed, error, "Check that the folder is there and writable.") from error

    def _check_archive(self, name: str, packed: Path, tail: Tail | None) -> None:
        """Unpack it again and walk along its chain to the end that it has to have."""
        with self._told(packed.name), closing(self._open_archive(packed)) as db:
            check = ChainWalk(0, NO_CHAIN)
            check.segment(name, db)
            if check.broken or tail_of(db) != tail:
                raise JournalCorruptError(self._folder / name, check.broken[0].message if check.broken else 0)

    def _tidy(self) -> None:
        """Remove what a crash, or a process that was reading meanwhile, has left beside the segments."""
        for copy in self._folder.glob(f"{_UNPACKED}*"):
            with suppress(FileNotFoundError):
                if copy.stat().st_mtime < time.time() - _LEFT_AFTER_S:
                    copy.unlink()
        for packed in self._folder.glob(_SEGMENTS + _ARCHIVED):
            plain = packed.with_suffix("")
            if not plain.exists():
                for end in _BESIDE:
                    plain.with_name(plain.name + end).unlink(missing_ok=True)

    def _check_room(self, needed: int) -> None:
        """Raise StoreFullError where less than the reserve would be left."""
        if self._reserve_bytes and shutil.disk_usage(self._folder).free - needed < self._reserve_bytes:
            raise StoreFullError(self._folder, f"less than {self._reserve_bytes >> 20} MB are free, which are kept in reserve")

    def _on_disk(self) -> list[str]:
        plain = {path.name for path in self._folder.glob(_SEGMENTS)}
        return sorted(plain | {path.name.removesuffix(_ARCHIVED) for path in self._folder.glob(_SEGMENTS + _ARCHIVED)})

    def _segments(self) -> list[str]:
        """Names of the segments, oldest first; the folder is listed again only when the head names a new one."""
        with self._told(_HEAD):
            newest = self._head_reader.execute("SELECT segment FROM head").fetchone()[0]
        if newest and (not self._names or self._names[-1] < newest):
            self._names = self._on_disk()
        return self._names

    def _segments_from(self, after: int) -> list[str]:
        """Segments that may hold ids above `after`, oldest first."""
        wanted: list[str] = []
        for name in reversed(self._segments()):
            if name not in self._previous_ids:
                with self._told(name):
                    previous_id = self._previous_id(name)
                if previous_id is None:
                    continue
                self._previous_ids[name] = previous_id
            wanted.append(name)
            if self._previous_ids[name] <= after:
                break
        return wanted[::-1]

    def _previous_id(self, name: str) -> int | None:
        """Id of the last message before a segment; None: it is not begun. An archive tells without being unpacked."""
        packed = self._folder / f"{name}{_ARCHIVED}"
        if packed.exists():
            with packed.open("rb") as file:
                return segments.previous_id_of(file)
        db = self._reader(name)
        return segments.origin_of(db)[0] if version_of(db) else None

    @contextmanager
    def _rows(self, name: str, lane: int | None, where: str, *values: int) -> Iterator[Iterable[Row]]:
        with self._told(name), segments.rows_of(self._reader(name), lane, where, *values) as rows:
            yield rows

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Turn the errors of one file into ours."""
        try:
            with told(self._folder / name):
                yield
        except DamagedFileError as error:
            raise JournalCorruptError(self._folder / name, 0) from error


def _message(row: Row) -> Message:
    message, door, topic, identity, content_type, payload, received_us, retained, lane = row
    return Message(message, door, topic, identity, content_type, payload, _EPOCH + timedelta(0, 0, received_us), retained != 0, lane)
