"""The ledger: what became of each journal message, what is still to be recomputed, and how far each gateway has counted.

One SQLite file in WAL mode with synchronous=NORMAL: after a power cut it may be some transactions behind, but it is one
consistent state, marks and cursor together; the journal, which is synced, then gives the same settlements again.
"""

import io
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl

from config.schemas import SETTLEMENT, conform, empty
from store.journal import LANES, LIVE
from store.sqlite import SharedFile

MARK: Final = pl.Schema({"register_key": pl.UInt32(), "day": pl.Date(), "mark": pl.Int64()})
SEQUENCE: Final = pl.Schema({  # one gateway's count within one epoch
    "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(),
    "highest_seq": pl.Int64(),  # largest seq that is known to have been published
    "contiguous_seq": pl.Int64(),  # every seq up to it was received or is reported lost
    "missing": pl.Int64(), "lost": pl.Int64(),  # seqs below the highest that may still come; that the gateway has given up
    "last_message": pl.Int64(),  # journal id
})
GAP: Final = pl.Schema({  # seqs that were published and not received
    "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(),
    "from_seq": pl.Int64(), "to_seq": pl.Int64(), "lost": pl.Boolean(),
})
SETTLED: Final = pl.Schema({**SETTLEMENT, "position": pl.Int64()})  # in the order of settling, which is not that of the messages
_STORED_MARK: Final = pl.Schema({"register_key": pl.UInt32(), "day": pl.Int32(), "mark": pl.Int64()})
_Source = tuple[str, str, str]  # enterprise, gateway, epoch
_SOURCE: Final = ("enterprise", "gateway", "epoch")
_NOT_PUBLISHED: Final = ("sandbox", "replayed")  # outcomes of what is no message of a balance; the readings of a replay are in theirs
_NOTHING: Final[Mapping[str, str | None]] = MappingProxyType({})
_COUNTED: Final = ("decoded", "stored", "duplicate", "conflicting", "rejected")
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS settlement (
        message INTEGER PRIMARY KEY, outcome TEXT NOT NULL, reason TEXT, enterprise TEXT, gateway TEXT, epoch TEXT, seq INTEGER,
        decoded INTEGER NOT NULL, stored INTEGER NOT NULL, duplicate INTEGER NOT NULL, conflicting INTEGER NOT NULL, rejected INTEGER NOT NULL,
        lane INTEGER NOT NULL DEFAULT 0);
    -- The order of settling: runs of one lane, each with the position of its first message.
    CREATE TABLE IF NOT EXISTS run (
        position INTEGER PRIMARY KEY, lane INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, size INTEGER NOT NULL);
    -- Cursors, and sums over all settlements, kept up with each of them: adding up millions of rows for a page takes a second.
    CREATE TABLE IF NOT EXISTS number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sequence (
        enterprise TEXT NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL, highest_seq INTEGER NOT NULL, last_message INTEGER NOT NULL,
        PRIMARY KEY (enterprise, gateway, epoch)) WITHOUT ROWID;
    -- What is not received up to highest_seq, as ranges that do not overlap.
    CREATE TABLE IF NOT EXISTS gap (
        enterprise TEXT NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
        lost INTEGER NOT NULL, PRIMARY KEY (enterprise, gateway, epoch, from_seq)) WITHOUT ROWID;
    -- Days to be computed again, as each batch marked them (Arrow IPC: register_key, day, mark): one row costs far less than thousands.
    -- Batch 0 holds what is left of all batches that are settled.
    CREATE TABLE IF NOT EXISTS dirty_batch (batch INTEGER PRIMARY KEY, marks BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    -- What stateful profiles remember, as of the lane's cursor.
    CREATE TABLE IF NOT EXISTS memory (lane INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (lane, name)) WITHOUT ROWID"""
# Of version 0, settled in the order of the messages: positions and receipts go on from there, and its marks count at once.
_FROM_VERSION_0: Final = """
    ALTER TABLE settlement ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
    INSERT INTO run SELECT 1, 0, min(message), max(message), count(*) FROM settlement HAVING count(*) > 0;
    UPDATE number SET value = (SELECT count(*) FROM settlement WHERE message <= value) WHERE name = 'receipt_cursor'"""
_MERGED_AT: Final = 64  # batches of dirty days beside each other
_RUN: Final = 65_536  # settlements in a run at most


@dataclass(frozen=True, slots=True)
class Totals:
    """Both balances (architecture.md section 2), over everything settled."""

    # messages
    received: int  # decoded_messages + undecodable
    decoded_messages: int
    undecodable: int
    missing: int  # published by gateways that count, not received: gaps that may still be filled, and what they report as lost
    # readings
    decoded: int  # stored + duplicate + conflicting + rejected
    stored: int
    duplicate: int
    conflicting: int
    rejected: int

    @property
    def published(self) -> int:
        """Messages that gateways are known to have published."""
        return self.received + self.missing


class Ledger(SharedFile):
    """What became of each journal message. Several processes may hold it open; everything may be repeated after a crash."""

    if_damaged = "Set the file aside and start again: it is made anew from the journal."

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._write() as db:
            is_old = bool(db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'settlement'").fetchone())
            is_new = not db.execute("PRAGMA user_version").fetchone()[0]
            for statement in (_SCHEMA + (";" + _FROM_VERSION_0 if is_new and is_old else "")).split(";"):
                db.execute(statement)
            if is_new and is_old:
                marks = pl.DataFrame(db.execute("SELECT register_key, day, 0 FROM dirty").fetchall(), schema=_STORED_MARK, orient="row")
                _put_marks(db, 0, conform(marks, MARK))
                db.execute("DROP TABLE dirty")
            db.execute("PRAGMA user_version = 1")

    def cursor(self, lane: int = LIVE) -> int:
        """Id of the last settled message of a lane, 0 at the start."""
        return self._number(_cursor(lane))

    def cursors(self) -> dict[int, int]:
        """The cursor of each lane."""
        return {lane: self.cursor(lane) for lane in LANES}

    def memory(self, lane: int = LIVE) -> dict[str, str]:
        """What stateful profiles remember of a lane's messages up to its cursor."""
        with self._read() as db:
            return dict(db.execute("SELECT name, value FROM memory WHERE lane = ?", (lane,)))

    def settle(
        self, settlements: pl.DataFrame, cursor: int, *, lane: int = LIVE, batch: int = 0, memory: Mapping[str, str | None] = _NOTHING,
        registered: pl.DataFrame | None = None,
    ) -> None:
        """Enter what became of messages of a lane and move its cursor, in one transaction.

        Args:
            settlements: SETTLEMENT; a row replaces an earlier one of its message. A row with enterprise, gateway, epoch
                and seq (from 1 on) advances that gateway's count, in any order, a repeated seq changing nothing.
            cursor: id of the last message of the lane that is done with; it never goes back.
            lane: one of LANES.
            batch: the number that `mark_dirty` gave: its marks and all before count from now on.
            memory: what profiles remember anew; None forgets a name.
            registered: enterprise, gateway: only their counts advance (None: all), so that a made-up gateway leaves no gaps.

        Raises:
            StoreUnavailableError, StoreFullError: nothing was entered.
        """
        rows = conform(settlements, SETTLEMENT).with_columns(pl.col(_COUNTED).fill_null(0))
        with self._write() as db:
            if not rows.is_empty():
                for name, added in _sums(rows, self._earlier(db, rows)).items():
                    db.execute("INSERT INTO number VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value", (name, added))
                marks = ", ".join("?" * len(SETTLEMENT))
                db.executemany(f"INSERT OR REPLACE INTO settlement VALUES ({marks}, {lane:d})", rows.iter_rows())  # noqa: S608 - question marks
                _go_on(db, lane, rows["message"])
                counted = rows.drop_nulls([*_SOURCE, "seq"]).filter(pl.col("seq") >= 1).sort(*_SOURCE, "seq")
                if registered is not None:
                    counted = counted.join(registered, on=["enterprise", "gateway"], how="semi", maintain_order="left")
                for source, group in groupby(counted.select(*_SOURCE, "seq", "message").iter_rows(), key=lambda row: row[:3]):
                    members = list(group)
                    _advance(db, source, [row[3] for row in members], max(row[4] for row in members))
            db.executemany("DELETE FROM memory WHERE lane = ? AND name = ?", [(lane, name) for name, value in memory.items() if value is None])
            kept = [(lane, name, value) for name, value in memory.items() if value is not None]
            db.executemany("INSERT OR REPLACE INTO memory VALUES (?, ?, ?)", kept)
            for name, value in ((_cursor(lane), cursor), ("settled_batch", batch)):
                db.execute("INSERT INTO number VALUES (?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)", (name, value))

    def record_lost(self, enterprise: str, gateway: str, epoch: str, from_seq: int, to_seq: int) -> None:
        """Enter that a gateway has lost its messages from_seq..to_seq for good (both included, from 1 on).

        They count as reported missing and are waited for no longer; one that is here already, or comes after all, is received.

        Raises:
            StoreUnavailableError, StoreFullError: nothing was entered.
        """
        source = (enterprise, gateway, epoch)
        with self._write() as db:
            highest = _highest(db, source)
            for gap_from, gap_to, _ in _cut(db, source, from_seq, min(to_seq, highest)):
                _add_gap(db, source, max(gap_from, from_seq), min(gap_to, to_seq), lost=True)
            _add_gap(db, source, highest + 1, from_seq - 1, lost=False)
            _add_gap(db, source, max(highest + 1, from_seq), to_seq, lost=True)
            _reach(db, source, max(highest, to_seq), 0)

    def totals(self) -> Totals:
        """Counts over everything settled."""
        with self._read() as db:
            number = dict(db.execute("SELECT name, value FROM number"))
            missing = sum(to_seq - from_seq + 1 for from_seq, to_seq in db.execute("SELECT from_seq, to_seq FROM gap"))
        received, undecodable = number.get("received", 0), number.get("undecodable", 0)
        return Totals(received, received - undecodable, undecodable, missing, *(number.get(name, 0) for name in _COUNTED))

    def sequences(self) -> pl.DataFrame:
        """SEQUENCE: how far each gateway has counted in each of its epochs."""
        query = (
            "SELECT s.enterprise, s.gateway, s.epoch, s.highest_seq, coalesce(min(g.from_seq) FILTER (WHERE NOT g.lost) - 1, s.highest_seq), "
            "coalesce(sum(g.to_seq - g.from_seq + 1) FILTER (WHERE NOT g.lost), 0), "
            "coalesce(sum(g.to_seq - g.from_seq + 1) FILTER (WHERE g.lost), 0), s.last_message "
            "FROM sequence s LEFT JOIN gap g USING (enterprise, gateway, epoch) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        return self._frame(query, SEQUENCE)

    def gaps(self) -> pl.DataFrame:
        """GAP: what is to be filled in by the gateways, and what they have lost."""
        return self._frame("SELECT enterprise, gateway, epoch, from_seq, to_seq, lost FROM gap ORDER BY 1, 2, 3, 4", GAP)

    def settlements(self, after: int, limit: int) -> pl.DataFrame:
        """SETTLEMENT of the messages above `after`, by message, at most `limit`."""
        names = ", ".join(SETTLEMENT)
        return self._frame(f"SELECT {names} FROM settlement WHERE message > ? ORDER BY message LIMIT ?", SETTLEMENT, after, limit)  # noqa: S608 - names

    def settled(self, after: int, limit: int) -> pl.DataFrame:
        """SETTLED in the order of settling, above that position, at most `limit`."""
        names = ", ".join(SETTLEMENT)
        of_run = (
            f"SELECT {names}, ? + row_number() OVER (ORDER BY message) - 1 FROM settlement "  # noqa: S608 - names
            "WHERE message BETWEEN ? AND ? AND lane = ? ORDER BY message LIMIT ? OFFSET ?"
        )
        found: list[tuple[object, ...]] = []
        with self._read() as db:
            begin = db.execute("SELECT coalesce(max(position), 0) FROM run WHERE position <= ?", (after + 1,)).fetchone()[0]
            with closing(db.execute("SELECT position, lane, first, last FROM run WHERE position >= ? ORDER BY position", (begin,))) as runs:
                for position, lane, first, last in runs:
                    found += db.execute(of_run, (position, first, last, lane, limit - len(found), max(0, after + 1 - position)))
                    if len(found) == limit:
                        break
        return pl.DataFrame(found, schema=SETTLED, orient="row")

    def runs(self) -> list[tuple[int, int]]:
        """Lane and last message of each run of messages of one lane, in the order of settling."""
        with self._read() as db:
            return db.execute("SELECT lane, last FROM run ORDER BY position").fetchall()

    def receipt_cursor(self) -> int:
        """Position of the last settlement that its gateway has a receipt for."""
        return self._number("receipt_cursor")

    def set_receipt_cursor(self, position: int) -> None:
        """Enter that gateways have receipts up to this position."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO number VALUES ('receipt_cursor', ?)", (position,))

    def mark_dirty(self, marks: pl.DataFrame, *, at_once: bool = False) -> int:
        """Mark local days of registers that are to be computed again; called before the batch is stored.

        Only one process settles. A batch that is begun again after a crash gets the same number as the first time.

        Args:
            marks: register_key, day (a local day); repeats do no harm.
            at_once: the marks count at once, not only when the batch is settled.

        Returns:
            The batch's number, for `settle`: they rise.
        """
        with self._write() as db:
            settled = _settled_batch(db)
            batch = settled + (not at_once)
            marked = marks.select(pl.col("register_key").cast(pl.UInt32), "day", mark=pl.lit(batch, pl.Int64))
            if at_once:
                _put_marks(db, 0, _newest(pl.concat([_marks(db, settled), marked])))
                db.execute("DELETE FROM dirty_batch WHERE batch BETWEEN 1 AND ?", (settled,))
            else:
                begun = _marks_of(db, "batch = ?", batch)  # before a crash
                _put_marks(db, batch, _newest(pl.concat([marked, *begun])) if begun else marked)
        return batch

    def dirty(self) -> pl.DataFrame:
        """MARK: marked days of which at least one batch is settled; `mark` is the newest of those, to be given to `clear_dirty`."""
        with self._read() as db:
            found = _newest(_marks(db, _settled_batch(db)))
            merge = db.execute("SELECT count(*) > ? FROM dirty_batch", (_MERGED_AT,)).fetchone()[0]
        if merge:
            self.clear_dirty(found.clear())
        return found

    def clear_dirty(self, done: pl.DataFrame) -> None:
        """Take away marks (MARK, as `dirty` gave them) that were worked on; a newer mark of the same day stays."""
        with self._write() as db:
            settled = _settled_batch(db)
            left = _newest(_marks(db, settled)).join(done.select("register_key", "day", done="mark"), on=["register_key", "day"], how="left")
            _put_marks(db, 0, left.filter(pl.col("done").is_null() | (pl.col("mark") > pl.col("done"))).drop("done"))
            db.execute("DELETE FROM dirty_batch WHERE batch BETWEEN 1 AND ?", (settled,))

    def get_state(self, name: str) -> str | None:
        """A small lasting value of a service."""
        with self._read() as db:
            row = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_state(self, name: str, value: str) -> None:
        """Keep a small lasting value of a service."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def _number(self, name: str) -> int:
        with self._read() as db:
            row = db.execute("SELECT value FROM number WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _frame(self, query: str, schema: pl.Schema, *parameters: int) -> pl.DataFrame:
        with self._read() as db:
            rows = db.execute(query, parameters).fetchall()
        as_stored = {name: pl.String() if dtype == pl.String() else pl.Int64() for name, dtype in schema.items()}
        frame = pl.DataFrame(rows, schema=as_stored, orient="row")
        return conform(frame.with_columns(pl.col(name).cast(pl.Int32()) for name, dtype in schema.items() if dtype == pl.Date()), schema)

    def _earlier(self, db: sqlite3.Connection, rows: pl.DataFrame) -> pl.DataFrame | None:
        """What was entered before for the same messages: none, unless something is settled again."""
        names = ["message", "outcome", *_COUNTED]
        query = f"SELECT {', '.join(names)} FROM settlement WHERE message BETWEEN ? AND ?"  # noqa: S608 - constant names
        found = db.execute(query, (rows["message"].min(), rows["message"].max())).fetchall()
        if not found:
            return None
        earlier = pl.DataFrame(found, schema={name: SETTLEMENT[name] for name in names}, orient="row")
        return earlier.join(rows, on="message", how="semi")


def _cursor(lane: int) -> str:
    return f"cursor_{lane}" if lane else "cursor"


def _go_on(db: sqlite3.Connection, lane: int, messages: pl.Series) -> None:
    """Enter that messages of a lane were settled next: the last run goes on, or a new one begins."""
    first, last, size = messages.min(), messages.max(), messages.len()
    row = db.execute("SELECT position, lane, last, size FROM run ORDER BY position DESC LIMIT 1").fetchone()
    if row and row[1] == lane and row[2] < first and row[3] < _RUN:
        db.execute("UPDATE run SET last = ?, size = size + ? WHERE position = ?", (last, size, row[0]))
    else:
        db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?)", (row[0] + row[3] if row else 1, lane, first, last, size))


def _settled_batch(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM number WHERE name = 'settled_batch'").fetchone()
    return int(row[0]) if row else 0


def _sums(rows: pl.DataFrame, earlier: pl.DataFrame | None) -> dict[str, int]:
    """By how much the totals grow."""
    def of(frame: pl.DataFrame) -> dict[str, int]:
        undecodable = int((frame["outcome"] == "undecodable").sum())
        received = int((~frame["outcome"].is_in(_NOT_PUBLISHED)).sum())
        return {"received": received, "undecodable": undecodable, **{name: int(frame[name].sum()) for name in _COUNTED}}

    now = of(rows)
    before = dict.fromkeys(now, 0) if earlier is None else of(earlier)
    return {name: now[name] - before[name] for name in now}


def _highest(db: sqlite3.Connection, source: _Source) -> int:
    row = db.execute("SELECT highest_seq FROM sequence WHERE enterprise = ? AND gateway = ? AND epoch = ?", source).fetchone()
    return int(row[0]) if row else 0


def _reach(db: sqlite3.Connection, source: _Source, highest: int, last_message: int) -> None:
    db.execute(
        "INSERT INTO sequence VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET highest_seq = max(highest_seq, excluded.highest_seq), "
        "last_message = max(last_message, excluded.last_message)", (*source, highest, last_message),
    )


def _advance(db: sqlite3.Connection, source: _Source, seqs: list[int], last_message: int) -> None:
    """Enter received seqs (sorted, repeats allowed)."""
    highest = _highest(db, source)
    start = 0
    for position in range(1, len(seqs) + 1):
        if position < len(seqs) and seqs[position] <= seqs[position - 1] + 1:
            continue
        run_from, run_to = seqs[start], seqs[position - 1]  # a run without a hole
        start = position
        _cut(db, source, run_from, min(run_to, highest))
        _add_gap(db, source, highest + 1, run_from - 1, lost=False)
        highest = max(highest, run_to)
    _reach(db, source, highest, last_message)


def _cut(db: sqlite3.Connection, source: _Source, from_seq: int, to_seq: int) -> list[tuple[int, int, int]]:
    """Take from_seq..to_seq out of the gaps; returns the gaps that it touched, as they were."""
    if from_seq > to_seq:
        return []
    where = "enterprise = ? AND gateway = ? AND epoch = ?"
    touched: list[tuple[int, int, int]] = db.execute(
        f"SELECT from_seq, to_seq, lost FROM gap WHERE {where} AND from_seq <= ? AND to_seq >= ?", (*source, to_seq, from_seq),  # noqa: S608 - constant
    ).fetchall()
    for gap_from, gap_to, lost in touched:
        db.execute(f"DELETE FROM gap WHERE {where} AND from_seq = ?", (*source, gap_from))  # noqa: S608 - constant
        _add_gap(db, source, gap_from, from_seq - 1, lost=bool(lost))
        _add_gap(db, source, to_seq + 1, gap_to, lost=bool(lost))
    return touched


def _add_gap(db: sqlite3.Connection, source: _Source, from_seq: int, to_seq: int, *, lost: bool) -> None:
    if from_seq <= to_seq:
        db.execute("INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?)", (*source, from_seq, to_seq, lost))


def _put_marks(db: sqlite3.Connection, batch: int, marks: pl.DataFrame) -> None:
    file = io.BytesIO()
    marks.write_ipc(file, compression="lz4")
    db.execute("INSERT OR REPLACE INTO dirty_batch VALUES (?, ?)", (batch, file.getvalue()))


def _marks_of(db: sqlite3.Connection, where: str, batch: int) -> list[pl.DataFrame]:
    return [pl.read_ipc(io.BytesIO(blob)) for (blob,) in db.execute(f"SELECT marks FROM dirty_batch WHERE {where}", (batch,))]  # noqa: S608 - constant


def _marks(db: sqlite3.Connection, settled: int) -> pl.DataFrame:
    """MARK of all settled batches, repeats included."""
    return pl.concat([empty(MARK), *_marks_of(db, "batch <= ?", settled)])


def _newest(marks: pl.DataFrame) -> pl.DataFrame:
    return marks.group_by("register_key", "day").agg(pl.col("mark").max()).sort("day", "register_key")
