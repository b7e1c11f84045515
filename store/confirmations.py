"""Who has checked which limit against the text of its standard (decisions.md 3)."""

from datetime import date

import polars as pl
from sqlalchemy import func, insert, select

from config.schemas import CONFIRMATION as SHAPE
from store import audit
from store.database import Database
from store.models import CONFIRMATION

_COLUMNS = [CONFIRMATION.c[name] for name in SHAPE]
_LAST = select(func.max(CONFIRMATION.c.id)).group_by(CONFIRMATION.c.product, CONFIRMATION.c.indicator, CONFIRMATION.c.standard)


class Confirmations:
    """Confirmations are added, never altered; of several for one limit the last counts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, product: str, indicator: str, standard: str, by: str, on: date, copy: str, remark: str | None = None) -> None:
        """Note that `by` compared the limit with the standard's text on that day.

        Args:
            product: code of the limit row.
            indicator: code of the limit row.
            standard: number of the standard with its year.
            by: the person who stands for it.
            on: the day of the comparison.
            copy: which copy of the text was read.
            remark: anything else worth keeping.
        """
        row = {
            "product": product, "indicator": indicator, "standard": standard,
            "confirmed_by": by, "confirmed_on": on, "copy": copy, "remark": remark,
        }
        with self._db.session() as session:
            if session.execute(select(*_COLUMNS).where(CONFIRMATION.c.id.in_(_LAST)).filter_by(**row)).first() is not None:
                return
            session.execute(insert(CONFIRMATION).values(**row))
            audit.append(session, by=by, action="limit.confirm", subject=f"{standard}/{product}/{indicator}", details={"copy": copy, "on": on})

    def frame(self) -> pl.DataFrame:
        """CONFIRMATION, one row for each confirmed limit."""
        return self._db.frame(select(*_COLUMNS).where(CONFIRMATION.c.id.in_(_LAST)).order_by(CONFIRMATION.c.id), SHAPE)
