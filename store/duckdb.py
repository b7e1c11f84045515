"""Readings in a DuckDB file: the default store. One process holds the file; its threads read while one appends."""

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import duckdb
import polars as pl

from config.errors import StoreFullError, StoreUnavailableError
from config.schemas import INSTANT, READING, conform, empty
from store.readings import FIRST_REACH, Appended, Reach, beside, in_order, judge, nearest

# No primary key: its index takes six times the space and a quarter of the speed. What can be a repeat is found by the
# first and last instant of each register, held in memory.
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS reading (register_key UINTEGER NOT NULL, read_at TIMESTAMPTZ NOT NULL, copy UTINYINT NOT NULL, "
    "value DOUBLE NOT NULL, quality UTINYINT NOT NULL, received_at TIMESTAMPTZ NOT NULL, message BIGINT NOT NULL)"
)
_COLUMNS: Final = ", ".join(READING)
_KNOWN: Final = pl.Schema({"register_key": pl.UInt32(), "first": INSTANT, "last": INSTANT})
_FULL: Final = ("No space left on device", "Disk quota exceeded", "not enough space")
_HELD: Final = re.compile(r"lock.*?\(PID (\d+)\)", re.IGNORECASE | re.DOTALL)


class _Frame:
    """Polars to DuckDB without pyarrow, which it asks for when it is given a frame itself."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def _frame(relation: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    """DuckDB to Polars, which keeps the class of what it is given for good: DuckDB would complain of its own at the end of the process."""
    stream: Any = SimpleNamespace(__arrow_c_stream__=relation.__arrow_c_stream__)
    return pl.DataFrame(stream)


class DuckDbReadingStore:
    """ReadingStore on one DuckDB file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._appending, self._opening = threading.Lock(), threading.Lock()
        self._closed = False
        self._opened: duckdb.DuckDBPyConnection | None = None
        self._reach = Reach(empty(_KNOWN))
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told(), self._cursor():
            pass

    def append(self, readings: pl.DataFrame) -> Appended:
        if readings.is_empty():
            return Appended()
        with self._appending, self._told(), self._cursor() as db:
            try:
                db.begin()
                repeated = self._reach.repeats(readings)
                kept = empty(READING) if repeated.is_empty() else self._at(db, repeated.select("register_key", "read_at").unique())
                new, _, appended = judge(readings, kept)
                if not new.is_empty():
                    db.register("new", _Frame(new))
                    db.execute(f"INSERT INTO reading SELECT {_COLUMNS} FROM new")  # noqa: S608 - constant names
                    db.unregister("new")
                db.commit()
                self._reach.widen(new)
            except BaseException:
                self._let_go()  # whether the rows are in is not known: the next call opens the file again and sees
                raise
        return appended

    def span(
        self, register_keys: Sequence[int] | None, start: datetime, end: datetime, *, pad: int = 0, as_of: datetime | None = None,
    ) -> pl.DataFrame:
        with self._told(), self._cursor() as db:
            known = self._of(register_keys)
            reach = FIRST_REACH if pad else timedelta()
            some = known.filter(pl.col("first") < end + reach, pl.col("last") >= start - reach)
            found = in_order(self._of_registers(db, some, start - reach, end + reach, as_of))
            if not pad:
                return found

            def fetch(asked: pl.DataFrame, lo: datetime, hi: datetime) -> pl.DataFrame:
                return self._of_registers(db, asked, lo, hi, as_of)

            found, earlier, later = beside(found, known, start, end, pad)
            further = [nearest(earlier, start, pad, fetch, before=True), nearest(later, end, pad, fetch, before=False)]
        return in_order(pl.concat([found, *further]))

    def latest(self, register_keys: Sequence[int] | None = None) -> pl.DataFrame:
        with self._told(), self._cursor() as db:
            known = self._of(register_keys)
            found = self._at(db, known.select("register_key", read_at="last"))
        return found.filter(pl.col("copy") == 0).sort("register_key")

    def count(self) -> int:
        with self._told(), self._cursor() as db:
            row = db.execute("SELECT count(*) FROM reading").fetchone()
        assert row is not None
        return int(row[0])

    def ready(self) -> None:
        with self._told(), self._cursor() as db:
            db.execute("SELECT 1").fetchone()

    def incarnation(self) -> str:
        return ""  # a commit is on the disk

    def keeps_for(self) -> timedelta | None:
        return None

    def close(self) -> None:
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own to the open file, which is opened again after an error that closed it."""
        with self._opening:
            if self._closed:
                raise StoreUnavailableError(self._path, "it is closed", "The service is stopping.")
            if self._opened is None:
                # By default it takes four fifths of the machine, and stops for a checkpoint at each 16 MB.
                db = duckdb.connect(str(self._path), config={"memory_limit": "1GB", "checkpoint_threshold": "128MB"})
                try:
                    db.execute(_TABLE)
                    known = _frame(db.sql("SELECT register_key, min(read_at) AS first, max(read_at) AS last FROM reading GROUP BY ALL"))
                except BaseException:
                    db.close()
                    raise
                self._opened, self._reach = db, Reach(conform(known, _KNOWN))
            cursor = self._opened.cursor()
        try:
            yield cursor  # closing it rolls back what is not committed
        finally:
            cursor.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn DuckDB's errors into ours."""
        try:
            yield
        except duckdb.Error as error:
            text = str(error)
            if isinstance(error, duckdb.FatalException):
                self._let_go()  # DuckDB answers nothing more until the file is opened again
            if any(sign in text for sign in _FULL):
                raise StoreFullError(self._path, text) from error
            if holder := _HELD.search(text):
                raise StoreUnavailableError(
                    self._path, f"process {holder[1]} holds it, as a running tcewatch service does",
                    "Ask the running service (its pages or its API), or stop it first: a DuckDB file belongs to one process.",
                ) from error
            raise StoreUnavailableError(self._path, text) from error

    def _of(self, register_keys: Sequence[int] | None) -> pl.DataFrame:
        """The spans of some registers, of all for None."""
        spans = self._reach.spans()
        return spans if register_keys is None else spans.filter(pl.col("register_key").is_in(list(register_keys)))

    def _at(self, db: duckdb.DuckDBPyConnection, instants: pl.DataFrame) -> pl.DataFrame:
        """READING, all copies at those instants (register_key, read_at)."""
        if instants.is_empty():
            return empty(READING)
        lo, hi = instants["read_at"].min(), instants["read_at"].max()
        assert isinstance(lo, datetime)
        assert isinstance(hi, datetime)
        match = "SEMI JOIN asked a ON a.register_key = r.register_key AND a.read_at = r.read_at"
        return self._select(db, match, instants, lo, hi + timedelta(microseconds=1))

    def _of_registers(
        self, db: duckdb.DuckDBPyConnection, asked: pl.DataFrame, start: datetime, end: datetime, as_of: datetime | None,
    ) -> pl.DataFrame:
        """READING with start <= read_at < end of some registers."""
        if asked.is_empty():
            return empty(READING)
        keys = asked["register_key"].cast(pl.Int64)
        low, high = cast(int, keys.min()), cast(int, keys.max())
        if high - low >= 2 * asked.height:
            return self._select(db, "SEMI JOIN asked a ON a.register_key = r.register_key", asked, start, end, as_of)
        found = self._select(db, "", asked, start, end, as_of)  # most of them: a join takes longer than to leave the others out
        if high - low < asked.height:
            return found
        is_asked = pl.repeat(False, high - low + 1, dtype=pl.Boolean, eager=True).scatter(keys - low, True)
        return found.filter(is_asked.gather(found["register_key"].cast(pl.Int64) - low))

    def _select(
        self, db: duckdb.DuckDBPyConnection, match: str, asked: pl.DataFrame, start: datetime, end: datetime, as_of: datetime | None = None,
    ) -> pl.DataFrame:
        if asked.is_empty():
            return empty(READING)
        db.register("asked", _Frame(asked))
        where, params = "r.read_at >= $start AND r.read_at < $end AND r.register_key BETWEEN $low AND $high", {"start": start, "end": end}
        if as_of is not None:
            where, params = where + " AND r.received_at <= $as_of", {**params, "as_of": as_of}
        keys = {"low": asked["register_key"].min(), "high": asked["register_key"].max()}
        query = f"SELECT {_COLUMNS} FROM reading r {match} WHERE {where}"  # noqa: S608 - constant texts
        found = _frame(db.sql(query, params={**params, **keys}))
        db.unregister("asked")
        return conform(found, READING)
