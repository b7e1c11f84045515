"""Reports of faults: a person says that a meter is out, why, and which figure stands in for it."""

from datetime import datetime

import polars as pl
from sqlalchemy import insert, select

from config import schemas
from config.errors import BadInputError, Problem
from store import audit
from store.database import Database
from store.models import EDIT, METER, OUTAGE_REPORT


class Repairs:
    """Reports are added, never changed."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def report(self, enterprise: str, meter: str, at: datetime, text: str, *, by: str, now: datetime, edit: int | None = None) -> None:
        """Record that a meter is out.

        Args:
            enterprise: whose meter.
            meter: which.
            at: an instant at which it was out.
            text: what is the matter and what is done about it.
            by: who reports it.
            now: when.
            edit: number of the edit by which the figure was entered by hand, once there is one.

        Raises:
            BadInputError: what is wrong with it, all of it; nothing was recorded.
        """
        problems = [Problem(name, "is empty", "Say it.") for name, given in (("text", text), ("by", by)) if not given.strip()]
        if at > now:
            problems.append(Problem("at", f"{at.isoformat()} is still to come", "Give an instant at which the meter was out."))
        with self._db.session() as session:
            known = select(METER.c.id).where(METER.c.enterprise == enterprise, METER.c.meter == meter, METER.c.known_to.is_(None))
            if session.execute(known).first() is None:
                problems.append(Problem(f"{enterprise}/{meter}", "is no meter of the register", "`tcewatch meters due` lists them."))
            if edit is not None and session.execute(select(EDIT.c.id).where(EDIT.c.id == edit)).first() is None:
                problems.append(Problem("edit", f"there is no edit {edit}", "Give the number of the edit that holds the figure, or leave it out."))
            if problems:
                raise BadInputError(problems)
            session.execute(insert(OUTAGE_REPORT).values(
                enterprise=enterprise, meter=meter, at=at, reported_at=now, reported_by=by.strip(), report=text.strip(), edit=edit,
            ))
            audit.append(session, by=by.strip(), action="outage.report", subject=f"{enterprise}/{meter}", details={"at": at, "edit": edit})

    def reports(self) -> pl.DataFrame:
        """OUTAGE_REPORT, in the order in which they came."""
        columns = (OUTAGE_REPORT.c[name] for name in schemas.OUTAGE_REPORT)
        return self._db.frame(select(*columns).order_by(OUTAGE_REPORT.c.id), schemas.OUTAGE_REPORT)
