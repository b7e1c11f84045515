"""What is known of each gateway: what it says of itself, when it was heard, how its clock goes, and what it was asked for.

One SQLite file. All of it comes again by itself, so a lost or damaged file costs some minutes of knowledge and no reading.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import polars as pl

from config.schemas import INSTANT, conform
from store.journal import Message
from store.sqlite import SharedFile

FLEET: Final = pl.Schema({  # one registered gateway that was heard of
    "enterprise": pl.String(), "gateway": pl.String(),
    "state": pl.String(), "since": INSTANT,  # what it says (online, offline) and since when; null: it never said
    "connected_at": INSTANT,  # when it last said that it is online, not as a retained message
    "software": pl.String(), "epoch": pl.String(),
    "last_message_at": INSTANT,  # when its last message arrived
    "last_reading_at": INSTANT,  # the latest instant that its readings carry, those from the future left out
    "clock_offset_s": pl.Float64(),  # median of received minus device time over its recent live messages: transport and all
    "usual_interval_s": pl.Float64(),  # between its messages: the upper quartile of recent ones
    "samples": pl.UInt32(),  # how many moments the two come from
})
HIGHEST: Final = pl.Schema({  # the largest seq that came in on a local day
    "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(), "day": pl.Date(), "highest_seq": pl.Int64(),
})
ASKED_RANGE: Final = pl.Schema({  # a range of missing messages: since when it is known, how often and when it was asked for
    "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(), "from_seq": pl.Int64(), "to_seq": pl.Int64(),
    "seen_at": INSTANT, "times": pl.Int64(), "asked_at": INSTANT,
})
ASKED_WINDOW: Final = pl.Schema({  # a half-open span of a register without readings, likewise
    "enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(), "start": INSTANT, "end": INSTANT,
    "seen_at": INSTANT, "times": pl.Int64(), "asked_at": INSTANT,
})
COMMAND_EVERY_S: Final = 60.0  # at most one command a minute on each topic
MOMENT_S: Final = 10  # messages of a gateway within so long count as one moment
SAMPLES: Final = 64  # moments that the clock offset and the usual interval come from
FUTURE_S: Final = 300  # a reading further ahead says nothing of when the last reading was
_NO_OFFSET: Final = -(2**63)
_NOTHING_SHOWN: Final[tuple[int | None, int | None]] = (None, None)
_QUARTER_S: Final = 900
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DOORS_OF_GATEWAYS: Final = frozenset({"mqtt", "http"})  # a file that is read or a message that is replayed is not the gateway speaking
_SENDER: Final = ["enterprise", "gateway"]
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS gateway (
        enterprise TEXT NOT NULL, gateway TEXT NOT NULL, state TEXT, since INTEGER, connected_at INTEGER, software TEXT, epoch TEXT,
        state_message INTEGER NOT NULL DEFAULT 0, last_message_at INTEGER, last_reading_at INTEGER,
        moments BLOB NOT NULL DEFAULT x'', -- 64-bit integers by threes: moment, when received, offset of the clock (microseconds)
        PRIMARY KEY (enterprise, gateway)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS highest (
        enterprise TEXT NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL, day INTEGER NOT NULL, highest_seq INTEGER NOT NULL,
        PRIMARY KEY (enterprise, gateway, epoch, day)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS asked_range (
        enterprise TEXT NOT NULL, gateway TEXT NOT NULL, epoch TEXT NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL,
        seen_at INTEGER NOT NULL, times INTEGER NOT NULL, asked_at INTEGER);
    CREATE TABLE IF NOT EXISTS asked_window (
        enterprise TEXT NOT NULL, gateway TEXT NOT NULL, meter TEXT NOT NULL, register TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
        seen_at INTEGER NOT NULL, times INTEGER NOT NULL, asked_at INTEGER);
    CREATE TABLE IF NOT EXISTS command (
        topic TEXT PRIMARY KEY, payload BLOB NOT NULL, message INTEGER NOT NULL, wanted INTEGER NOT NULL, sent_at INTEGER) WITHOUT ROWID"""


class State(Protocol):
    """What a gateway says of itself."""

    @property
    def state(self) -> str: ...
    @property
    def epoch(self) -> str | None: ...
    @property
    def software(self) -> str | None: ...


class Said(Protocol):
    """Who said it, in which journal message."""

    @property
    def message(self) -> int: ...
    @property
    def enterprise(self) -> str: ...
    @property
    def gateway(self) -> str: ...
    @property
    def state(self) -> State: ...


class WantedCommand(NamedTuple):
    """A command that is to be published."""

    topic: str
    payload: bytes
    message: int  # the journal message that called for it


class _Heard:
    """What one gateway told in a batch."""

    __slots__ = ("at_s", "highest", "moments", "read_us")

    def __init__(self) -> None:
        self.at_s = 0.0  # Unix time of its last message
        self.read_us: int | None = None
        self.moments: dict[int, tuple[float, int | None]] = {}  # arrival and latest reading of the last message of each
        self.highest: dict[tuple[str, int], int] = {}  # seq by epoch and quarter of an hour

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Each moment with arrival and clock offset (microseconds)."""
        for moment, (at_s, latest_us) in self.moments.items():
            yield moment, _unix_us(at_s), _NO_OFFSET if latest_us is None else _unix_us(at_s) - latest_us


class Fleet(SharedFile):
    """What is known of the gateways. Several processes may hold it open; entering the same messages again changes nothing."""

    if_damaged = "Set the file aside and start again: what it knew comes again by itself."

    def __init__(self, path: Path, *, zone: str = "Asia/Shanghai") -> None:
        super().__init__(path)
        self._zone = ZoneInfo(zone)
        with self._write() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)

    def record(self, messages: Sequence[Message], heads: pl.DataFrame, readings: pl.DataFrame, states: Iterable[Said], *, live: bool = True) -> None:
        """Enter what a batch of messages tells of its senders.

        Args:
            messages: the batch, in the journal's order.
            heads: SETTLEMENT of those whose senders are to be known (the registered ones); the rest is ignored.
            readings: DECODED of the batch, before any rule.
            states: what gateways said of themselves, in order.
            live: whether they came in as live messages; history says nothing of the clock, nor of whether the gateway is there.

        Raises:
            StoreUnavailableError, StoreFullError: nothing was entered.
        """
        spoke = {one.id: one for one in messages if one.door in _DOORS_OF_GATEWAYS}
        heard = heads.select("message", *_SENDER, "epoch", "seq").drop_nulls(_SENDER).sort("message").rows()
        known = {row[0] for row in heard if row[0] in spoke}
        if not known:
            return
        shown = readings.group_by("message").agg(
            pl.col("read_at").max().dt.epoch("us").alias("latest"),
            pl.col("read_at").filter(pl.col("read_at") <= pl.col("received_at") + timedelta(seconds=FUTURE_S)).max().dt.epoch("us"),
        )
        device = {message: (latest, read_at) for message, latest, read_at in shown.iter_rows()}
        senders: dict[tuple[str, str], _Heard] = {}
        for message, enterprise, gateway, epoch, seq in heard:
            one = spoke.get(message)
            if one is None or one.retained:
                continue
            at_s = one.received_at.timestamp()
            latest_us, read_us = device.get(message, _NOTHING_SHOWN)
            told = senders.get((enterprise, gateway))
            if told is None:
                told = senders[enterprise, gateway] = _Heard()
            told.at_s = max(told.at_s, at_s)
            if read_us is not None and (told.read_us is None or read_us > told.read_us):
                told.read_us = read_us
            told.moments[int(at_s) // MOMENT_S] = at_s, latest_us
            if epoch is not None and seq is not None:
                counted = epoch, int(at_s) // _QUARTER_S
                if seq > told.highest.get(counted, 0):
                    told.highest[counted] = seq
        highest = [
            (*sender, epoch, self._day(quarter), seq) for sender, told in senders.items() for (epoch, quarter), seq in told.highest.items()
        ]
        with self._write() as db:
            db.executemany(
                "INSERT INTO gateway (enterprise, gateway, last_message_at, last_reading_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "last_message_at = max(coalesce(last_message_at, 0), excluded.last_message_at), "
                "last_reading_at = max(coalesce(last_reading_at, excluded.last_reading_at), coalesce(excluded.last_reading_at, last_reading_at))",
                [(*sender, _unix_us(told.at_s), told.read_us) for sender, told in senders.items()],
            )
            db.executemany(
                "INSERT INTO highest VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET highest_seq = max(highest_seq, excluded.highest_seq)",
                highest,
            )
            if live:
                for sender, told in senders.items():
                    _add_moments(db, sender, told.rows())
            for said in states:
                if said.message in known:
                    _enter_state(db, said, spoke[said.message])

    def _day(self, quarter: int) -> int:
        """The local day, since 1970, of a quarter of an hour: no zone changes within one."""
        return (datetime.fromtimestamp(quarter * _QUARTER_S, self._zone).date() - date(1970, 1, 1)).days

    def gateways(self) -> pl.DataFrame:
        """FLEET: every gateway that was heard of, by enterprise and gateway."""
        names = "enterprise, gateway, state, since, connected_at, software, epoch, last_message_at, last_reading_at, moments"
        with self._read() as db:
            rows = db.execute(f"SELECT {names} FROM gateway ORDER BY 1, 2").fetchall()  # noqa: S608 - constant names
        moments = [
            (*row[:2], received_at, None if offset == _NO_OFFSET else offset) for row in rows for _, received_at, offset in _moments(row[-1])
        ]
        schema = {"enterprise": pl.String(), "gateway": pl.String(), "received_at": pl.Int64(), "offset": pl.Int64()}
        gap = pl.col("received_at").sort().diff()
        of_moments = pl.DataFrame(moments, schema=schema, orient="row").group_by(_SENDER).agg(
            clock_offset_s=pl.col("offset").median() / 1e6, usual_interval_s=gap.quantile(0.75, "higher") / 1e6, samples=pl.len(),
        )
        return _frame([row[:-1] for row in rows], FLEET.names()[:9], FLEET).drop("clock_offset_s", "usual_interval_s", "samples").join(
            of_moments, on=_SENDER, how="left", maintain_order="left"
        ).pipe(conform, FLEET)

    def highest(self) -> pl.DataFrame:
        """HIGHEST by gateway, epoch and day."""
        with self._read() as db:
            rows = db.execute("SELECT * FROM highest ORDER BY 1, 2, 3, 4").fetchall()
        return _frame(rows, HIGHEST.names(), HIGHEST)

    def asked_ranges(self) -> pl.DataFrame:
        """ASKED_RANGE: the missing ranges that are known, and when they were asked for."""
        with self._read() as db:
            return _frame(db.execute("SELECT * FROM asked_range ORDER BY 1, 2, 3, 4").fetchall(), ASKED_RANGE.names(), ASKED_RANGE)

    def asked_windows(self) -> pl.DataFrame:
        """ASKED_WINDOW: the spans without readings that are known, and when they were asked for."""
        with self._read() as db:
            return _frame(db.execute("SELECT * FROM asked_window ORDER BY 1, 2, 3, 4, 5").fetchall(), ASKED_WINDOW.names(), ASKED_WINDOW)

    def remember_asked(self, ranges: pl.DataFrame, windows: pl.DataFrame) -> None:
        """Put ASKED_RANGE and ASKED_WINDOW in the place of what was remembered.

        Raises:
            StoreUnavailableError, StoreFullError: what was remembered stands.
        """
        with self._write() as db:
            for table, frame, schema in (("asked_range", ranges, ASKED_RANGE), ("asked_window", windows, ASKED_WINDOW)):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - constant names
                marks = ", ".join("?" * len(schema))
                rows = conform(frame, schema).with_columns(pl.selectors.datetime().dt.epoch("us"))
                db.executemany(f"INSERT INTO {table} VALUES ({marks})", rows.iter_rows())  # noqa: S608 - constant names

    def want_command(self, topic: str, payload: bytes, message: int) -> None:
        """Have a command published; a newer one of the same topic takes its place, the same or an older message changes nothing."""
        with self._write() as db:
            db.execute(
                "INSERT INTO command VALUES (?, ?, ?, 1, NULL) ON CONFLICT DO UPDATE SET payload = excluded.payload, message = excluded.message, "
                "wanted = 1 WHERE excluded.message > message", (topic, payload, message),
            )

    def commands(self, now: datetime) -> list[WantedCommand]:
        """Commands to be published now: wanted, and none on that topic within the last COMMAND_EVERY_S."""
        before = _us(now - timedelta(seconds=COMMAND_EVERY_S))
        with self._read() as db:
            rows = db.execute("SELECT topic, payload, message FROM command WHERE wanted AND coalesce(sent_at, ?1) <= ?1 ORDER BY topic", (before,))
            return [WantedCommand(*row) for row in rows]

    def command_sent(self, command: WantedCommand, now: datetime) -> None:
        """Enter that a command was published."""
        with self._write() as db:
            db.execute("UPDATE command SET sent_at = ?, wanted = message > ? WHERE topic = ?", (_us(now), command.message, command.topic))



def _enter_state(db: sqlite3.Connection, said: Said, message: Message) -> None:
    """Enter a state unless a later message has said another; a state that is said again began when it was first said."""
    arrived = _us(message.received_at)
    db.execute("INSERT OR IGNORE INTO gateway (enterprise, gateway) VALUES (?, ?)", (said.enterprise, said.gateway))
    db.execute(
        "UPDATE gateway SET since = CASE WHEN state IS :state THEN since ELSE :at END, state = :state, state_message = :message, "
        "software = coalesce(:software, software), epoch = coalesce(:epoch, epoch), "
        "connected_at = CASE WHEN :connected THEN :at ELSE connected_at END "
        "WHERE enterprise = :enterprise AND gateway = :gateway AND state_message < :message",
        {"state": said.state.state, "at": arrived, "message": message.id, "software": said.state.software, "epoch": said.state.epoch,
         "connected": said.state.state == "online" and not message.retained, "enterprise": said.enterprise, "gateway": said.gateway},
    )


def _unix_us(at_s: float) -> int:
    return round(at_s * 1e6)


def _add_moments(db: sqlite3.Connection, sender: tuple[str, str], rows: Iterable[tuple[int, int, int]]) -> None:
    """Add moments, the newest SAMPLES of which stay; of one moment the message that arrived last counts."""
    before, = db.execute("SELECT moments FROM gateway WHERE enterprise = ? AND gateway = ?", sender).fetchone()
    kept = {row[0]: row for row in _moments(before)}
    for row in rows:
        if row[0] not in kept or kept[row[0]][1] <= row[1]:
            kept[row[0]] = row
    cells = array("q", chain.from_iterable(sorted(kept.values())[-SAMPLES:]))
    db.execute("UPDATE gateway SET moments = ? WHERE enterprise = ? AND gateway = ?", (cells.tobytes(), *sender))


def _moments(blob: bytes) -> Iterator[tuple[int, int, int]]:
    cells = array("q", blob)
    return zip(cells[::3], cells[1::3], cells[2::3], strict=True)


def _frame(rows: Sequence[tuple[object, ...]], names: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
    """Rows as SQLite has them (instants as microseconds, days as days since 1970) in a shape."""
    stored = {name: pl.String() if schema[name] == pl.String() else pl.Int64() for name in names}
    frame = pl.DataFrame(rows, schema=stored, orient="row")
    instants = [pl.from_epoch(name, "us").dt.replace_time_zone("UTC") for name in names if schema[name] == INSTANT]
    days = [pl.col(name).cast(pl.Int32()) for name in names if schema[name] == pl.Date()]
    return conform(frame.with_columns(*instants, *days), schema)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
