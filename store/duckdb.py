"""Readings in a DuckDB file: the default store. One process holds the file; its threads read while one appends."""

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from config.errors import StoreFullError, StoreUnavailableError
from config.schemas import INSTANT, READING, conform, empty
from store.readings import Appended, all_stored, judge

# No primary key: its index takes six times the space and a quarter of the speed. What can be a repeat is found by the
# first and last instant of each register, held in memory.
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS reading (register_key UINTEGER NOT NULL, read_at TIMESTAMPTZ NOT NULL, copy UTINYINT NOT NULL, "
    "value DOUBLE NOT NULL, quality UTINYINT NOT NULL, received_at TIMESTAMPTZ NOT NULL, message BIGINT NOT NULL)"
)
_COLUMNS: Final = ", ".join(READING)
_KNOWN: Final = pl.Schema({"register_key": pl.UInt32(), "first": INSTANT, "last": INSTANT})
_FULL: Final = ("No space left on device", "Disk quota exceeded", "not enough space")
_FIRST_REACH: Final = timedelta(days=2)
_HELD: Final = re.compile(r"lock.*?\(PID (\d+)\)", re.IGNORECASE | re.DOTALL)


class _Frame:
    """Polars to DuckDB without pyarrow, which it asks for when it is given a frame itself."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


class DuckDbReadingStore:
    """ReadingStore on one DuckDB file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._appending, self._opening = threading.Lock(), threading.Lock()
        self._opened: duckdb.DuckDBPyConnection | None = None
        self._known = empty(_KNOWN)  # sorted by register_key
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told(), self._cursor():
            pass

    def append(self, readings: pl.DataFrame) -> Appended:
        if readings.is_empty():
            return Appended()
        with self._appending, self._told(appending=True), self._cursor() as db:
            db.begin()
            known = self._known
            repeated = readings.join(known, on="register_key", maintain_order="left").filter(pl.col("read_at") <= pl.col("last"))
            if not repeated.is_empty() or readings.select("register_key", "read_at").n_unique() < readings.height:
                new, appended = judge(readings, self._kept(db, repeated.select("register_key", "read_at").unique()))
            else:
                new, appended = readings.select(READING.names()).with_columns(copy=pl.lit(0, pl.UInt8)), all_stored(readings)
            if not new.is_empty():
                db.register("new", _Frame(new))
                db.execute(f"INSERT INTO reading SELECT {_COLUMNS} FROM new")  # noqa: S608 - constant names
                db.unregister("new")
            db.commit()
            spans = new.group_by("register_key").agg(first=pl.col("read_at").min(), last=pl.col("read_at").max())
            self._known = pl.concat([known, spans]).group_by("register_key").agg(pl.col("first").min(), pl.col("last").max())
        return appended

    def span(self, register_keys: Sequence[int] | None, start: datetime, end: datetime, *, pad: int = 0) -> pl.DataFrame:
        with self._told(), self._cursor() as db:
            known = self._of(register_keys)
            inside = known.filter(pl.col("first") < end, pl.col("last") >= start)
            parts = [self._select(db, "a.register_key = r.register_key", inside, start, end)]
            if pad:
                before = self._nearest(db, known.filter(pl.col("first") < start), start, pad, before=True)
                after = self._nearest(db, known.filter(pl.col("last") >= end), end, pad, before=False)
                parts += [self._at(db, before), self._at(db, after)]
        return pl.concat(parts).sort("register_key", "read_at", "copy")

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

    def close(self) -> None:
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of one's own to the open file, which is opened again after an error that closed it."""
        with self._opening:
            if self._opened is None:
                db = duckdb.connect(str(self._path))
                try:
                    db.execute(_TABLE)
                    known = pl.DataFrame(db.sql("SELECT register_key, min(read_at) AS first, max(read_at) AS last FROM reading GROUP BY ALL"))
                except BaseException:
                    db.close()
                    raise
                self._opened, self._known = db, conform(known, _KNOWN)
            cursor = self._opened.cursor()
        try:
            yield cursor  # closing it rolls back what is not committed
        finally:
            cursor.close()

    @contextlib.contextmanager
    def _told(self, *, appending: bool = False) -> Iterator[None]:
        """Turn DuckDB's errors into ours."""
        try:
            yield
        except duckdb.Error as error:
            text = str(error)
            if appending or isinstance(error, duckdb.FatalException) or "has been invalidated" in text:
                self.close()  # whether the rows are in is not known: the next call opens the file again and sees
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
        return self._known if register_keys is None else self._known.filter(pl.col("register_key").is_in(list(register_keys)))

    def _kept(self, db: duckdb.DuckDBPyConnection, instants: pl.DataFrame) -> pl.DataFrame:
        return empty(READING) if instants.is_empty() else self._at(db, instants)

    def _at(self, db: duckdb.DuckDBPyConnection, instants: pl.DataFrame) -> pl.DataFrame:
        """READING, all copies at those instants (register_key, read_at)."""
        if instants.is_empty():
            return empty(READING)
        lo, hi = instants["read_at"].min(), instants["read_at"].max()
        assert isinstance(lo, datetime)
        assert isinstance(hi, datetime)
        return self._select(db, "a.register_key = r.register_key AND a.read_at = r.read_at", instants, lo, hi + timedelta(microseconds=1))

    def _select(self, db: duckdb.DuckDBPyConnection, match: str, asked: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
        if asked.is_empty():
            return empty(READING)
        db.register("asked", _Frame(asked))
        query = f"SELECT {_COLUMNS} FROM reading r SEMI JOIN asked a ON {match} WHERE r.read_at >= $start AND r.read_at < $end"  # noqa: S608 - ours
        found = pl.DataFrame(db.sql(query, params={"start": start, "end": end}))
        db.unregister("asked")
        return conform(found, READING)

    def _nearest(self, db: duckdb.DuckDBPyConnection, known: pl.DataFrame, edge: datetime, pad: int, *, before: bool) -> pl.DataFrame:
        """The `pad` instants (register_key, read_at) of each register next to an edge: before it, or from it on.

        The reach widens until every register has enough or all of its own, so that a busy store is not read from its start.
        """
        found: list[pl.DataFrame] = []
        reach = _FIRST_REACH
        while not known.is_empty():
            far = known["first"].min() if before else known["last"].max()
            assert isinstance(far, datetime)
            limit = max(edge - reach, far) if before else min(edge + reach, far)
            side = "max" if before else "min"
            within = "r.read_at >= $limit AND r.read_at < $edge" if before else "r.read_at >= $edge AND r.read_at <= $limit"
            db.register("asked", _Frame(known))
            query = (
                f"SELECT r.register_key, {side}(r.read_at, {pad}) AS read_at FROM reading r SEMI JOIN asked a ON a.register_key = r.register_key "  # noqa: S608 - ours
                f"WHERE r.copy = 0 AND {within} GROUP BY r.register_key"
            )
            near = pl.DataFrame(db.sql(query, params={"limit": limit, "edge": edge}))
            db.unregister("asked")
            all_reached = pl.col("first") >= limit if before else pl.col("last") <= limit
            known = known.join(near, on="register_key", how="left")
            done = (pl.col("read_at").list.len().fill_null(0) >= pad) | all_reached
            found.append(known.filter(done, pl.col("read_at").is_not_null()).select("register_key", pl.col("read_at")).explode("read_at"))
            known = known.filter(~done).drop("read_at")
            reach *= 8
        schema = {"register_key": READING["register_key"], "read_at": READING["read_at"]}
        return pl.concat([conform(part, pl.Schema(schema)) for part in found]) if found else pl.DataFrame(schema=schema)
