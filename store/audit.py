"""Who did what: records chained by hash, each written in the transaction of the change that it tells of."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from config.schemas import INSTANT
from store.database import Database
from store.models import AUDIT, AUDIT_HEAD

_ENTRY = pl.Schema({
    "seq": pl.Int64(), "at": INSTANT, "by": pl.String(), "action": pl.String(), "subject": pl.String(), "details": pl.String(), "hash": pl.String(),
})
_COLUMNS = [AUDIT.c[name] for name in _ENTRY]


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What a check of the chain found: how many records hold, and the first that does not (None: all hold)."""

    checked: int
    broken: int | None
    what: str = ""


def append(session: Session, *, by: str, action: str, subject: str, details: Mapping[str, Any] | None = None) -> None:
    """Add one record to the chain, inside the caller's transaction; its instant is the clock's, never the caller's.

    Args:
        session: the transaction of the change itself: both last or neither.
        by: who did it: a person, a token or a service.
        action: what was done, as a code such as "register.import".
        subject: what it was done to.
        details: figures and texts that a later reader needs.
    """
    head = session.execute(select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash).with_for_update()).one()
    at = datetime.now(UTC)
    text = json.dumps(details or {}, ensure_ascii=False, sort_keys=True, default=str)
    link = _link(head.hash, head.seq + 1, at, by, action, subject, text)
    session.execute(insert(AUDIT).values(seq=head.seq + 1, at=at, by=by, action=action, subject=subject, details=text, hash=link))
    session.execute(update(AUDIT_HEAD).values(seq=head.seq + 1, hash=link))


def same_person(one: str, other: str) -> bool:
    """Whether two names, as they were written, are those of one person: case, width, spaces and signs that are not seen make no other one.

    >>> same_person("Wang Li", " ｗａｎｇ  LI"), same_person("王丽", "王\u200b丽"), same_person("王丽", "王莉")
    (True, True, False)
    """
    return _bare(one) == _bare(other)


class AuditLog:
    """Reading and checking the records."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def entries(self, *, after: int = 0, limit: int = 1000) -> pl.DataFrame:
        """Records seq, at, by, action, subject, details (JSON) and hash with seq > `after`, in order."""
        return self._db.frame(select(*_COLUMNS).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq).limit(limit), _ENTRY)

    def verify(self) -> AuditCheck:
        """Follow the chain from its first record and name the first that was altered, removed or put in.

        Whoever can write to the database could also forge the whole chain from some record on: keep the last hash
        elsewhere (`tcewatch audit verify` prints it) to see that too.
        """
        with self._db.reading() as session:
            head = session.execute(select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash)).one_or_none()
            link, checked = "", 0
            with session.execute(select(*_COLUMNS).order_by(AUDIT.c.seq).execution_options(yield_per=1000)) as rows:
                for row in rows:
                    if row.seq != checked + 1:
                        return AuditCheck(checked, checked + 1, f"record {checked + 1} is missing: the next one is {row.seq}")
                    link = _link(link, row.seq, row.at, row.by, row.action, row.subject, row.details)
                    if link != row.hash:
                        return AuditCheck(checked, row.seq, f"record {row.seq} does not match its hash: it or its hash was altered")
                    checked = row.seq
        if head is None or (head.seq, head.hash) != (checked, link):
            return AuditCheck(checked, checked + 1, f"the chain ends at record {checked}, its head says otherwise: its end was cut off or altered")
        return AuditCheck(checked, None)

    def head(self) -> str:
        """The hash of the last record ("" where there is none): kept elsewhere, it proves that nothing before it was changed."""
        with self._db.reading() as session:
            return str(session.execute(select(AUDIT_HEAD.c.hash)).scalar_one())


def _bare(name: str) -> str:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(sign for sign in plain if not sign.isspace() and unicodedata.category(sign) not in {"Cc", "Cf"})


def _link(before: str, seq: int, at: datetime, by: str, action: str, subject: str, details: str) -> str:
    fields = [before, seq, at.astimezone(UTC).isoformat(timespec="microseconds"), by, action, subject, details]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
