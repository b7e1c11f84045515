"""What people say who have looked at a sign. Notes are added, never changed; the last one of a sign is shown."""

from datetime import datetime
from typing import Final

import polars as pl
from sqlalchemy import insert, select

from config.errors import BadInputError, Problem
from config.schemas import INSTANT
from store import audit
from store.database import Database
from store.models import SIGN_NOTE

KEY: Final = ("enterprise", "rule", "subject", "period")
NOTE: Final = pl.Schema({**dict.fromkeys(KEY, pl.String()), "note": pl.String(), "looked_at_by": pl.String(), "looked_at": INSTANT})


class SignNotes:
    """Who looked at which sign, when, and what they found."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def look(self, enterprise: str, rule: str, subject: str | None, period: str, note: str, *, by: str, now: datetime) -> None:
        """Record that a person looked at a sign.

        Args:
            enterprise: whose sign.
            rule: which sign.
            subject: what of the enterprise; None: all of it.
            period: as the sign says.
            note: what was found.
            by: who looked.
            now: when.

        Raises:
            BadInputError: nothing is said, or nobody says it; nothing was recorded.
        """
        problems = [Problem(name, "is empty", "Say it.") for name, given in (("note", note), ("by", by)) if not given.strip()]
        if problems:
            raise BadInputError(problems)
        with self._db.session() as session:
            session.execute(insert(SIGN_NOTE).values(
                enterprise=enterprise, rule=rule, subject=subject, period=period, note=note.strip(), looked_at_by=by.strip(), looked_at=now,
            ))
            where = "/".join(part for part in (enterprise, rule, subject, period) if part)
            audit.append(session, by=by.strip(), action="sign.look", subject=where, details={"note": note.strip()})

    def notes(self) -> pl.DataFrame:
        """NOTE: the last one of each sign."""
        rows = self._db.frame(select(*(SIGN_NOTE.c[name] for name in NOTE)).order_by(SIGN_NOTE.c.id), NOTE)
        return rows.unique(KEY, keep="last", maintain_order=True)
