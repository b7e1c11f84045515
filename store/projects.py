"""Minutes of consultations about projects: the file is kept as evidence under its SHA-256, and never changed."""

from datetime import date, datetime

import polars as pl
from sqlalchemy import select

from config import schemas
from config.errors import BadInputError, Problem
from store import audit
from store.database import Database, insert_new
from store.edits import Edits
from store.models import MINUTES, PROJECT


class Minutes:
    """Minutes are added, never changed."""

    def __init__(self, db: Database, evidence: Edits) -> None:
        self._db, self._evidence = db, evidence

    def add(self, project: str, held_on: date, subject: str, content: bytes, *, name: str, by: str, at: datetime) -> str:
        """Keep the minutes of a consultation; the SHA-256 of the file. The same file again for the same project changes nothing.

        Args:
            project: of the register.
            held_on: the day of the consultation.
            subject: what it was about.
            content: the file.
            name: of the file.
            by: who keeps it.
            at: when.

        Raises:
            BadInputError: what is wrong with it, all of it; nothing was recorded.
            StoreFullError, StoreUnavailableError: nothing was recorded.
        """
        problems = [Problem(column, "is empty", "Say it.") for column, given in (("subject", subject), ("by", by)) if not given.strip()]
        if held_on > at.date():
            problems.append(Problem("held_on", f"{held_on} is still to come", "Keep minutes once the consultation was held."))
        with self._db.reading() as session:
            known = select(PROJECT.c.enterprise).where(PROJECT.c.project == project, PROJECT.c.known_to.is_(None))
            enterprise = session.execute(known).scalar_one_or_none()
        if enterprise is None:
            problems.append(Problem("project", f"there is no project {project}", "Add it to sheet `project` of the register first."))
        if problems:
            raise BadInputError(problems)
        sha256 = self._evidence.keep_evidence(content, name=name, by=by.strip(), at=at)
        row = {"project": project, "enterprise": enterprise, "held_on": held_on, "subject": subject.strip(), "evidence": sha256}
        with self._db.session() as session:
            fresh = insert_new(session, MINUTES).values(**row, kept_by=by.strip(), kept_at=at).returning(MINUTES.c.id)
            if session.execute(fresh).first() is not None:
                audit.append(session, by=by.strip(), action="project.minutes", subject=project, details={"held_on": held_on, "evidence": sha256})
        return sha256

    def rows(self) -> pl.DataFrame:
        """MINUTES, by project and day."""
        query = select(*(MINUTES.c[name] for name in schemas.MINUTES)).order_by(MINUTES.c.project, MINUTES.c.held_on, MINUTES.c.id)
        return self._db.frame(query, schemas.MINUTES)
