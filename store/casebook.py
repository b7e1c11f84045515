"""Alerts and cases. An event, its notices and its audit record are written together or not at all."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, assert_never

import polars as pl
from sqlalchemy import Select, Table, func, insert, select, update
from sqlalchemy.orm import Session

from config.findings import AlertEvent, CaseOpened, Notice, OpenAlert
from config.schemas import INSTANT
from store import audit, outbox
from store.database import Database, frame_of, insert_new
from store.models import ALERT, ALERT_HISTORY, CASE, CASE_HISTORY

_TEXTS: Final = {"text_zh": pl.String(), "text_en": pl.String()}
_ALERT: Final = pl.Schema({
    "id": pl.Int64(), "rule": pl.String(), "subject": pl.String(), "enterprise": pl.String(), "severity": pl.String(),
    "value": pl.Float64(), "bound": pl.Float64(), "unit": pl.String(), "period": pl.String(),
    "opened_at": INSTANT, "updated_at": INSTANT, "closed_at": INSTANT, **_TEXTS, "facts": pl.String(),
})
_ALERT_HISTORY: Final = pl.Schema({
    "kind": pl.String(), "severity": pl.String(), "value": pl.Float64(), "bound": pl.Float64(), "period": pl.String(), "at": INSTANT,
    **_TEXTS, "facts": pl.String(), "recorded_by": pl.String(),
})
_CASE: Final = pl.Schema({
    "id": pl.Int64(), "key": pl.String(), "enterprise": pl.String(), "product": pl.String(), "indicator": pl.String(),
    "line": pl.String(), "standard": pl.String(), "edition": pl.String(), "period_start": pl.Date(), "period_end": pl.Date(), "state": pl.String(),
    "opened_at": INSTANT, **_TEXTS, "facts": pl.String(),
})
_CASE_HISTORY: Final = pl.Schema({"state": pl.String(), "at": INSTANT, **_TEXTS, "recorded_by": pl.String()})

_CASE_FIELDS: Final = ("enterprise", "product", "indicator", "line", "standard", "edition", "period_start", "period_end")


def identity(event: AlertEvent | CaseOpened) -> str:
    """What names an event: the keys of its notices are this, a slash and the channel."""
    match event:
        case AlertEvent():
            return f"alert/{event.kind}/{event.rule}/{event.subject}/{event.period}/{event.at.isoformat()}"
        case CaseOpened():
            return f"case/{event.key}"
        case _:
            assert_never(event)


class Casebook:
    """The alerts and cases of a site. `facts` columns are JSON objects."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def open_alerts(self) -> list[OpenAlert]:
        """The open alerts, at most one for each rule and subject."""
        columns = ("id", "rule", "subject", "enterprise", "severity", "value", "period", "opened_at", "bound", "unit", "facts")
        query = select(*(ALERT.c[name] for name in columns)).where(ALERT.c.closed_at.is_(None)).order_by(ALERT.c.id)
        with self._db.reading() as session:
            return [OpenAlert(**{**row, "facts": json.loads(row["facts"])}) for row in session.execute(query).mappings()]

    def judged(self) -> dict[tuple[str, str], str]:
        """The period last judged of each (rule, subject) whose last alert is closed, so that its figure does not open it again."""
        last = select(func.max(ALERT.c.id)).group_by(ALERT.c.rule, ALERT.c.subject)
        query = select(ALERT.c.rule, ALERT.c.subject, ALERT.c.period).where(ALERT.c.id.in_(last), ALERT.c.closed_at.is_not(None))
        with self._db.reading() as session:
            return {(rule, subject): period for rule, subject, period in session.execute(query)}

    def case_keys(self) -> frozenset[str]:
        """The keys of all cases, in whatever state."""
        with self._db.reading() as session:
            return frozenset(session.scalars(select(CASE.c.key)))

    def record(self, events: Sequence[AlertEvent | CaseOpened], notices: Sequence[Notice], *, by: str) -> None:
        """Write events with their notices and audit records in one transaction.

        What is there already is left as it is, and its notices are not queued again: a second "opened" of a rule and subject
        with an open alert, an update or a close of none, a case whose key exists. So a repetition after a crash changes nothing.

        Args:
            events: in the order in which they happened.
            notices: what to tell; a notice belongs to the event whose `identity` its key starts with.
            by: the service or person, for the audit.
        """
        with self._db.session() as session:
            ignored = tuple(f"{identity(event)}/" for event in events if not self._record(session, event, by))
            outbox.enqueue(session, [notice for notice in notices if not notice.key.startswith(ignored)])

    def alerts(
        self, *, open_only: bool = False, limit: int = 100, after: int | None = None, enterprises: Collection[str] | None = None,
    ) -> pl.DataFrame:
        """Alerts, the newest first: one page.

        Args:
            open_only: leave out the closed ones.
            limit: rows of a page.
            after: the id of the last row of the page before.
            enterprises: only those (None: all).
        """
        query = select(*(ALERT.c[name] for name in _ALERT)).order_by(ALERT.c.id.desc()).limit(limit)
        if open_only:
            query = query.where(ALERT.c.closed_at.is_(None))
        return self._db.frame(_within(query, ALERT, after, enterprises), _ALERT)

    def cases(self, *, limit: int = 1000, after: int | None = None, enterprises: Collection[str] | None = None) -> pl.DataFrame:
        """Cases, the newest first: one page (see `alerts`)."""
        query = select(*(CASE.c[name] for name in _CASE)).order_by(CASE.c.id.desc()).limit(limit)
        return self._db.frame(_within(query, CASE, after, enterprises), _CASE)

    def alert(self, id: int) -> tuple[Mapping[str, Any], pl.DataFrame] | None:  # noqa: A002 - the row's own name
        """An alert and its history (kind, severity, value, bound, period, at, texts, facts, recorded_by), or None."""
        return self._with_history(ALERT, _ALERT, ALERT_HISTORY, ALERT_HISTORY.c.alert, _ALERT_HISTORY, id)

    def case(self, id: int) -> tuple[Mapping[str, Any], pl.DataFrame] | None:  # noqa: A002 - the row's own name
        """A case and its history (state, at, texts, recorded_by), or None."""
        return self._with_history(CASE, _CASE, CASE_HISTORY, CASE_HISTORY.c.case_file, _CASE_HISTORY, id)

    def _with_history(
        self, table: Table, shape: pl.Schema, history: Table, owner: Any, history_shape: pl.Schema, key: int,
    ) -> tuple[Mapping[str, Any], pl.DataFrame] | None:
        with self._db.reading() as session:
            row = session.execute(select(*(table.c[name] for name in shape)).where(table.c.id == key)).mappings().one_or_none()
            if row is None:
                return None
            query = select(*(history.c[name] for name in history_shape)).where(owner == key).order_by(history.c.id)
            return dict(row), frame_of(session, query, history_shape)

    def _record(self, session: Session, event: AlertEvent | CaseOpened, by: str) -> bool:
        match event:
            case AlertEvent(kind="opened"):
                done = self._open_alert(session, event, by)
            case AlertEvent():
                done = self._move_alert(session, event, by)
            case CaseOpened():
                done = self._open_case(session, event, by)
            case _:
                assert_never(event)
        if done:
            kind = event.kind if isinstance(event, AlertEvent) else "opened"
            what = "alert" if isinstance(event, AlertEvent) else "case"
            subject = f"{event.rule}/{event.subject}" if isinstance(event, AlertEvent) else event.key
            audit.append(session, by=by, action=f"{what}.{kind}", subject=subject, details={"text": event.text_en, "at": event.at})
        return done

    def _open_alert(self, session: Session, event: AlertEvent, by: str) -> bool:
        row = _figures(event) | {
            "rule": event.rule, "subject": event.subject, "enterprise": event.enterprise, "unit": event.unit,
            "opened_at": event.at, "updated_at": event.at,
        }
        key = session.execute(insert_new(session, ALERT).values(**row).returning(ALERT.c.id)).scalar_one_or_none()
        if key is not None:
            _note(session, key, event, by)
        return key is not None

    def _move_alert(self, session: Session, event: AlertEvent, by: str) -> bool:
        is_it = (ALERT.c.rule == event.rule) & (ALERT.c.subject == event.subject) & ALERT.c.closed_at.is_(None)
        was = session.execute(select(ALERT).where(is_it).with_for_update()).mappings().one_or_none()
        now = _figures(event) | {"updated_at": event.at}
        if was is None or (event.kind == "updated" and all(was[name] == value for name, value in now.items())):
            return False
        if event.kind == "closed":
            now["closed_at"] = event.at
        session.execute(update(ALERT).where(ALERT.c.id == was["id"]).values(**now))
        _note(session, was["id"], event, by)
        return True

    def _open_case(self, session: Session, event: CaseOpened, by: str) -> bool:
        row = {name: getattr(event, name) for name in _CASE_FIELDS}
        texts = {"text_zh": event.text_zh, "text_en": event.text_en}
        row |= texts | {"key": event.key, "state": "suspected", "opened_at": event.at, "facts": _json(event.facts)}
        key = session.execute(insert_new(session, CASE).values(**row).returning(CASE.c.id)).scalar_one_or_none()
        if key is not None:
            session.execute(insert(CASE_HISTORY).values(case_file=key, state="suspected", at=event.at, recorded_by=by, **texts))
        return key is not None


def _within(query: Select[Any], table: Table, after: int | None, enterprises: Collection[str] | None) -> Select[Any]:
    if after is not None:
        query = query.where(table.c.id < after)
    return query if enterprises is None else query.where(table.c.enterprise.in_(sorted(enterprises)))


def _figures(event: AlertEvent) -> dict[str, Any]:
    return {
        "severity": event.severity, "value": event.value, "bound": event.bound, "period": event.period,
        "text_zh": event.text_zh, "text_en": event.text_en, "facts": _json(event.facts),
    }


def _note(session: Session, alert: int, event: AlertEvent, by: str) -> None:
    session.execute(insert(ALERT_HISTORY).values(alert=alert, kind=event.kind, at=event.at, recorded_by=by, **_figures(event)))


def _json(facts: Mapping[str, str | float | None]) -> str:
    return json.dumps(dict(facts), ensure_ascii=False, default=str)
