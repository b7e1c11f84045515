"""What could not be taken over: whole messages that no one could read, and readings that broke a rule. Bytes are kept as they came."""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
from sqlalchemy import func, select, tuple_

from config.schemas import INSTANT, conform
from store.database import Database, insert_new
from store.models import QUARANTINE

WHOLE_MESSAGE: Final = -1  # the index of a message that could not be read at all
ROW: Final = pl.Schema({
    "message": pl.Int64(), "index": pl.Int64(), "kind": pl.String(), "reasons": pl.List(pl.String()), "enterprise": pl.String(),
    "gateway": pl.String(), "meter": pl.String(), "register": pl.String(), "read_at": INSTANT, "value": pl.Float64(), "unit": pl.String(),
    "raw": pl.Binary(), "topic": pl.String(), "received_at": INSTANT,
})
_DATABASE_YEARS: Final = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
_LISTED: Final = pl.Schema({
    **{name: dtype for name, dtype in ROW.items() if name not in {"raw", "reasons"}}, "reasons": pl.String(), "raw_size": pl.Int64(),
})


class Quarantine:
    """Rows are named by message and index, and written once: the same rows again change nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, rows: pl.DataFrame) -> None:
        """Keep rows of the shape ROW: kind undecodable (index -1) or rejected, reasons, and the raw bytes."""
        if rows.is_empty():
            return
        # What no database can hold is left out here (U+0000, years beyond 9999); the raw bytes have it.
        readable = conform(rows, ROW).with_columns(
            pl.col(pl.String()).str.replace_all("\x00", "\ufffd", literal=True),
            read_at=pl.when(pl.col("read_at").is_between(*_DATABASE_YEARS)).then("read_at"),
        )
        values = [row | {"reasons": json.dumps(row["reasons"] or [])} for row in readable.iter_rows(named=True)]
        for field in ("enterprise", "gateway", "meter", "register", "unit"):
            for row in values:
                row[field] = row[field] and row[field][:200]
        with self._db.session() as session:
            session.execute(insert_new(session, QUARANTINE), values)

    def page(
        self, *, after: tuple[int, int] | None = None, limit: int = 100, filters: Mapping[str, str | None] | None = None,
        enterprises: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """Rows, the newest first, without their bytes but with `raw_size`.

        Args:
            after: (message, index) of the last row of the page before.
            limit: rows of a page.
            filters: kind, reason, enterprise, gateway, meter or register that rows must have; a value of None is no filter.
            enterprises: only those (None: all).
        """
        table = QUARANTINE.c
        columns = [func.length(table.raw) if name == "raw_size" else table[name] for name in _LISTED]
        query = select(*columns).order_by(table.message.desc(), table.index.asc()).limit(limit)
        if after is not None:
            query = query.where((table.message < after[0]) | ((table.message == after[0]) & (table.index > after[1])))
        for name, value in (filters or {}).items():
            if value is not None:
                query = query.where(table.reasons.contains(json.dumps(value), autoescape=True) if name == "reason" else table[name] == value)
        if enterprises is not None:
            query = query.where(table.enterprise.in_(sorted(enterprises)))
        return _with_reasons(self._db.frame(query, _LISTED))

    def get(self, message: int, index: int) -> Mapping[str, Any] | None:
        """One row with its raw bytes, or None."""
        query = select(QUARANTINE).where(tuple_(QUARANTINE.c.message, QUARANTINE.c.index) == tuple_(message, index))
        with self._db.reading() as session:
            row = session.execute(query).mappings().one_or_none()
        return None if row is None else {**row, "reasons": json.loads(row["reasons"])}

    def counts(self, *, enterprises: Collection[str] | None = None) -> pl.DataFrame:
        """How many rows have each reason: kind, reason, rows. A row with two reasons counts for both."""
        query = select(QUARANTINE.c.kind, QUARANTINE.c.reasons, func.count()).group_by(QUARANTINE.c.kind, QUARANTINE.c.reasons)
        if enterprises is not None:
            query = query.where(QUARANTINE.c.enterprise.in_(sorted(enterprises)))
        counted = self._db.frame(query, {"kind": pl.String(), "reasons": pl.String(), "rows": pl.Int64()})
        return (
            _with_reasons(counted).explode("reasons", keep_nulls=False, empty_as_null=False).rename({"reasons": "reason"})
            .group_by("kind", "reason").agg(pl.col("rows").sum()).sort("rows", "kind", "reason", descending=[True, False, False])
        )


def _with_reasons(frame: pl.DataFrame) -> pl.DataFrame:
    reasons = pl.Series("reasons", [json.loads(text) for text in frame["reasons"]], dtype=pl.List(pl.String()))
    return frame.with_columns(reasons)
