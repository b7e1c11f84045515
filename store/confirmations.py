"""Who has checked which limit against the text of its standard (decisions.md 3)."""

from datetime import UTC, date, datetime

import polars as pl
from sqlalchemy import Select, and_, func, insert, or_, select

from config.schemas import CONFIRMATION as SHAPE
from store import audit
from store.database import Database
from store.models import CONFIRMATION

_COLUMNS = [CONFIRMATION.c[name] for name in SHAPE]


class Confirmations:
    """Confirmations are added, never altered; of several for one limit the last counts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(
        self, product: str, indicator: str, standard: str, by: str, on: date, copy: str, remark: str | None = None, *, at: datetime | None = None,
    ) -> None:
        """Note that `by` compared the limit with the standard's text on that day.

        Args:
            product: code of the limit row.
            indicator: code of the limit row.
            standard: number of the standard with its year.
            by: the person who stands for it.
            on: the day of the comparison.
            copy: which copy of the text was read.
            remark: anything else worth keeping.
            at: from when on it is known; now where it is left out.
        """
        row = {
            "product": product, "indicator": indicator, "standard": standard,
            "confirmed_by": by, "confirmed_on": on, "copy": copy, "remark": remark,
        }
        with self._db.session() as session:
            if session.execute(select(*_COLUMNS).where(CONFIRMATION.c.id.in_(_last(None))).filter_by(**row)).first() is not None:
                return
            session.execute(insert(CONFIRMATION).values(**row, known_from=at or datetime.now(UTC)))
            audit.append(session, by=by, action="limit.confirm", subject=f"{standard}/{product}/{indicator}", details={"copy": copy, "on": on})

    def frame(self, *, as_of: datetime | None = None) -> pl.DataFrame:
        """CONFIRMATION, one row for each confirmed limit, as known at an instant with `as_of`."""
        return self._db.frame(select(*_COLUMNS).where(CONFIRMATION.c.id.in_(_last(as_of))).order_by(CONFIRMATION.c.id), SHAPE)


def _last(as_of: datetime | None) -> Select[tuple[int]]:
    last = select(func.max(CONFIRMATION.c.id)).group_by(CONFIRMATION.c.product, CONFIRMATION.c.indicator, CONFIRMATION.c.standard)
    if as_of is None:
        return last
    # Of those noted before the instant was kept, the day is all that is known.
    undated = and_(CONFIRMATION.c.known_from.is_(None), CONFIRMATION.c.confirmed_on <= as_of.date())
    return last.where(or_(CONFIRMATION.c.known_from <= as_of, undated))
