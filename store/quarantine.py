"""What could not be taken over: whole messages that no one could read, and readings that broke a rule. Bytes are kept as they came."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypedDict

import polars as pl
from sqlalchemy import LargeBinary, Select, func, literal, or_, select, tuple_, update
from sqlalchemy.orm import Session

from config.schemas import INSTANT, conform
from store import audit
from store.database import Database, frame_of, insert_new
from store.models import QUARANTINE

WHOLE_MESSAGE: Final = -1  # the index of a message that could not be read at all
REST: Final = -2  # the index of the row that stands for the readings of a message that have none of their own
KEPT_A_DAY: Final = 10_000  # readings of one gateway and UTC day that have a row each
ROW: Final = pl.Schema({
    "message": pl.Int64(), "index": pl.Int64(), "kind": pl.String(), "reasons": pl.List(pl.String()), "enterprise": pl.String(),
    "gateway": pl.String(), "meter": pl.String(), "register": pl.String(), "read_at": INSTANT, "value": pl.Float64(), "unit": pl.String(),
    "raw": pl.Binary(), "topic": pl.String(), "received_at": INSTANT,
})
_DATABASE_YEARS: Final = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
_LISTED: Final = pl.Schema({
    **{name: dtype for name, dtype in ROW.items() if name not in {"raw", "reasons"}}, "reasons": pl.String(), "raw_size": pl.Int64(),
    "readings": pl.Int64(), "replayed_as": pl.Int64(),
})
_DAY: Final = ["enterprise", "gateway", "day"]
_MESSAGES_AT_ONCE: Final = 500  # of one query


class Filters(TypedDict, total=False):
    """What rows must have; a filter of None is none."""

    kind: str | None  # undecodable, rejected, rest
    reason: str | None
    enterprise: str | None
    gateway: str | None
    meter: str | None
    register: str | None
    topic: str | None  # a part of it
    text: str | None  # a part of the raw bytes, of the topic or of an id
    since: datetime | None  # received at or after
    until: datetime | None  # received before
    replayed: bool | None


class Quarantine:
    """Rows are named by message and index, and written once: the same rows again change nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, rows: pl.DataFrame) -> None:
        """Keep rows of the shape ROW: kind undecodable (index -1) or rejected, reasons, and the raw bytes.

        Of one gateway and day KEPT_A_DAY rejected readings have a row each. Of what is beyond that each message has one row: kind
        rest, index -2, `readings` = how many it stands for, and their reasons; their bytes are in the journal.
        """
        if rows.is_empty():
            return
        # What no database can hold is left out here (U+0000, years beyond 9999); the raw bytes have it.
        readable = conform(rows, ROW).with_columns(
            pl.col(pl.String()).str.replace_all("\x00", "\ufffd", literal=True),
            read_at=pl.when(pl.col("read_at").is_between(*_DATABASE_YEARS)).then("read_at"),
        )
        with self._db.session() as session:
            kept = _within_quota(session, readable)
            values = [row | {"reasons": json.dumps(row["reasons"] or [])} for row in kept.iter_rows(named=True)]
            for field in ("enterprise", "gateway", "meter", "register", "unit"):
                for row in values:
                    row[field] = row[field] and row[field][:200]
            if values:
                session.execute(insert_new(session, QUARANTINE), values)

    def page(
        self, *, after: tuple[int, int] | None = None, limit: int = 100, filters: Filters | None = None,
        enterprises: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """Rows, the newest first, without their bytes but with `raw_size`.

        Args:
            after: (message, index) of the last row of the page before.
            limit: rows of a page.
            filters: what the rows must have.
            enterprises: only those (None: all).
        """
        table = QUARANTINE.c
        columns = [func.length(table.raw) if name == "raw_size" else table[name] for name in _LISTED]
        query = self._filtered(select(*columns), filters or {}, enterprises).order_by(table.message.desc(), table.index.asc()).limit(limit)
        if after is not None:
            query = query.where((table.message < after[0]) | ((table.message == after[0]) & (table.index > after[1])))
        return _with_reasons(self._db.frame(query, _LISTED))

    def first_of(self, messages: Sequence[int], each: int) -> pl.DataFrame:
        """The first rows of each of some messages, `each` at most, as message, index, meter, register, reasons; none that stands for a rest."""
        names = {name: _LISTED[name] for name in ("message", "index", "meter", "register", "reasons")}
        table = QUARANTINE.c
        place = func.row_number().over(partition_by=table.message, order_by=table.index).label("place")
        found = []
        for at in range(0, len(messages), _MESSAGES_AT_ONCE):
            some = messages[at:at + _MESSAGES_AT_ONCE]
            ranked = select(*(table[name] for name in names), place).where(table.message.in_(some), table.index > REST).subquery()
            query = select(*(ranked.c[name] for name in names)).where(ranked.c.place <= each)
            found.append(self._db.frame(query, names))
        return _with_reasons(pl.concat([pl.DataFrame(schema=names), *found]))

    def of_message(self, message: int) -> pl.DataFrame:
        """All rows of one message, as `page` gives them."""
        return self.page(after=(message, REST - 1), limit=KEPT_A_DAY + 2).filter(pl.col("message") == message)

    def mark_replayed(self, messages: Mapping[int, int], rows: Iterable[tuple[int, int]], *, by: str, details: Mapping[str, Any]) -> None:
        """Enter that rows (message, index) were replayed, each as the message that `messages` has for its own; written down for the audit."""
        with self._db.session() as session:
            for message, index in rows:
                row = (QUARANTINE.c.message == message) & (QUARANTINE.c.index == index)
                session.execute(update(QUARANTINE).where(row).values(replayed_as=messages[message]))
            audit.append(session, by=by, action="quarantine.replay", subject=f"{len(messages)} messages", details=details)

    def get(self, message: int, index: int) -> Mapping[str, Any] | None:
        """One row with its raw bytes, or None."""
        query = select(QUARANTINE).where(tuple_(QUARANTINE.c.message, QUARANTINE.c.index) == tuple_(message, index))
        with self._db.reading() as session:
            row = session.execute(query).mappings().one_or_none()
        return None if row is None else {**row, "reasons": json.loads(row["reasons"])}

    def counts(self, *, enterprises: Collection[str] | None = None) -> pl.DataFrame:
        """How many messages and readings have each reason: kind, reason, rows. What has two reasons counts for both."""
        counted_rows = func.sum(func.coalesce(QUARANTINE.c.readings, 1))
        query = select(QUARANTINE.c.kind, QUARANTINE.c.reasons, counted_rows).group_by(QUARANTINE.c.kind, QUARANTINE.c.reasons)
        if enterprises is not None:
            query = query.where(QUARANTINE.c.enterprise.in_(sorted(enterprises)))
        counted = self._db.frame(query, {"kind": pl.String(), "reasons": pl.String(), "rows": pl.Int64()})
        return (
            _with_reasons(counted).explode("reasons", keep_nulls=False, empty_as_null=False).rename({"reasons": "reason"})
            .group_by("kind", "reason").agg(pl.col("rows").sum()).sort("rows", "kind", "reason", descending=[True, False, False])
        )

    def by_day(self, since: datetime, until: datetime, zone: str) -> pl.DataFrame:
        """Readings and messages that were refused and not replayed, by the local day on which they came: enterprise, meter, day, refused.

        Args:
            since: received at or after.
            until: received before.
            zone: the place whose days are meant.
        """
        table = QUARANTINE.c
        query = select(table.enterprise, table.meter, table.received_at, func.coalesce(table.readings, 1)).where(
            table.received_at >= since, table.received_at < until, table.replayed_as.is_(None), table.enterprise.is_not(None),
        )
        shape = {"enterprise": pl.String(), "meter": pl.String(), "received_at": INSTANT, "refused": pl.Int64()}
        day = pl.col("received_at").dt.convert_time_zone(zone).dt.date()
        return self._db.frame(query, shape).group_by("enterprise", "meter", day=day).agg(pl.col("refused").sum()).sort(
            "enterprise", "meter", "day", nulls_last=False
        )

    def _filtered(self, query: Select[Any], filters: Filters, enterprises: Collection[str] | None) -> Select[Any]:
        table = QUARANTINE.c
        for name, value in filters.items():
            match name, value:
                case _, None:
                    pass
                case "reason", _:
                    query = query.where(table.reasons.contains(json.dumps(value), autoescape=True))
                case "topic", _:
                    query = query.where(table.topic.contains(value, autoescape=True))
                case "text", str():
                    sought = literal(value.encode("utf-8", "replace"), LargeBinary())
                    position = func.instr(table.raw, sought) if self._db.is_sqlite else func.position(sought.op("IN")(table.raw))
                    names = (table.topic, table.gateway, table.meter, table.register)
                    query = query.where(or_(position > 0, *(name.contains(value, autoescape=True) for name in names)))
                case "since", _:
                    query = query.where(table.received_at >= value)
                case "until", _:
                    query = query.where(table.received_at < value)
                case "replayed", _:
                    query = query.where(table.replayed_as.is_not(None) if value else table.replayed_as.is_(None))
                case _:
                    query = query.where(table[name] == value)
        return query if enterprises is None else query.where(table.enterprise.in_(sorted(enterprises)))


def _within_quota(session: Session, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows to be kept: those of the shape ROW that are not there yet, what is beyond the quota as one row for each message."""
    table = QUARANTINE.c
    ids = rows["message"].unique().sort()
    there = pl.concat([
        frame_of(session, select(table.message, table.index).where(table.message.in_(some.to_list())), {"message": pl.Int64(), "index": pl.Int64()})
        for some in (ids.slice(at, _MESSAGES_AT_ONCE) for at in range(0, len(ids), _MESSAGES_AT_ONCE))
    ])
    # Decided once: a batch that is repeated after a crash must not count anything again.
    fresh = rows.join(there, on=["message", "index"], how="anti").join(there.filter(pl.col("index") == REST), on="message", how="anti")
    fresh = fresh.with_columns(day=pl.col("received_at").dt.truncate("1d"), is_reading=pl.col("index") >= 0).sort("message", "index")
    before = [
        (*key, session.execute(
            select(func.count()).where(table.enterprise.is_(key[0]) if key[0] is None else table.enterprise == key[0])
            .where(table.gateway.is_(key[1]) if key[1] is None else table.gateway == key[1])
            .where(table.received_at >= key[2], table.received_at < key[2] + timedelta(days=1), table.index >= 0)
        ).scalar_one())
        for key in fresh.filter(pl.col("is_reading") & pl.col("day").is_not_null()).select(_DAY).unique().iter_rows()
    ]
    had = pl.DataFrame(before, schema={**{name: fresh.schema[name] for name in _DAY}, "had": pl.Int64()}, orient="row")
    ranked = fresh.join(had, on=_DAY, how="left", nulls_equal=True, maintain_order="left").with_columns(
        rank=pl.col("had").fill_null(0) + pl.col("is_reading").cum_sum().over(_DAY)
    )
    over = ranked.filter(pl.col("is_reading") & (pl.col("rank") > KEPT_A_DAY))
    if over.is_empty():
        return fresh.select(*ROW, readings=pl.lit(None, pl.Int64))
    rest = over.group_by("message", maintain_order=True).agg(
        pl.col("reasons").explode().unique(maintain_order=True), pl.col("enterprise", "gateway", "topic", "received_at").first(),
        index=pl.lit(REST, pl.Int64), kind=pl.lit("rest"), readings=pl.len().cast(pl.Int64),
    )
    single = ranked.join(over.select("message", "index"), on=["message", "index"], how="anti").select(*ROW, readings=pl.lit(None, pl.Int64))
    return pl.concat([single, rest], how="diagonal")


def _with_reasons(frame: pl.DataFrame) -> pl.DataFrame:
    reasons = pl.Series("reasons", [json.loads(text) for text in frame["reasons"]], dtype=pl.List(pl.String()))
    return frame.with_columns(reasons)
