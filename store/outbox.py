"""Notices that wait for delivery. They are written with the event that they tell of (casebook.py), so that none is forgotten."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from config.findings import Notice
from store.database import Database, insert_new
from store.models import OUTBOX

_NOTICE = ("key", "channel", "title_zh", "title_en", "body_zh", "body_en", "at")


@dataclass(frozen=True, slots=True)
class QueuedNotice:
    """A notice and how often its delivery has failed."""

    id: int
    notice: Notice
    tries: int


class Outbox:
    """Delivery is at least once: a receiver tells repetitions by the notice's key."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def due(self, now: datetime, limit: int = 100) -> list[QueuedNotice]:
        """Notices whose time has come, in the order in which they were written."""
        query = select(OUTBOX).where(OUTBOX.c.next_try <= now).order_by(OUTBOX.c.id).limit(limit)
        with self._db.reading() as session:
            return [
                QueuedNotice(row.id, Notice(**{name: getattr(row, name) for name in _NOTICE}, facts=json.loads(row.facts)), row.tries)
                for row in session.execute(query)
            ]

    def delivered(self, id: int, at: datetime) -> None:  # noqa: A002 - the row's own name
        """Note that the channel has taken the notice."""
        with self._db.session() as session:
            session.execute(update(OUTBOX).where(OUTBOX.c.id == id).values(delivered_at=at, next_try=None, error=None))

    def failed(self, id: int, error: str, next_try: datetime | None) -> None:  # noqa: A002 - the row's own name
        """Note that a delivery failed and when to try again; None: never, a person must look at it."""
        with self._db.session() as session:
            session.execute(
                update(OUTBOX).where(OUTBOX.c.id == id, OUTBOX.c.delivered_at.is_(None))
                .values(tries=OUTBOX.c.tries + 1, error=error, next_try=next_try)
            )

    def counts(self) -> dict[str, int]:
        """How many notices are `waiting`, `delivered` and `given_up`."""
        waiting, delivered = OUTBOX.c.next_try.is_not(None), OUTBOX.c.delivered_at.is_not(None)
        query = select(
            func.count().filter(waiting).label("waiting"), func.count().filter(delivered).label("delivered"),
            func.count().filter(~waiting & ~delivered).label("given_up"),
        ).select_from(OUTBOX)
        with self._db.reading() as session:
            return dict(session.execute(query).mappings().one())


def enqueue(session: Session, notices: Sequence[Notice]) -> None:
    """Queue notices inside the caller's transaction; one that the channel has had already (by its key) is left as it is."""
    rows = [
        {name: getattr(notice, name) for name in _NOTICE}
        | {"facts": json.dumps(dict(notice.facts), ensure_ascii=False, default=str), "tries": 0, "next_try": notice.at}
        for notice in notices
    ]
    if rows:
        session.execute(insert_new(session, OUTBOX), rows)
