"""Edits of meter data: one person proposes, another checks, and only what is checked counts. Nothing is ever deleted.

An edit is `waiting`, then `effective` or `refused`. One that counts is `withdrawing` (and still counts) from when somebody asks that it
count no longer until another person checks that too, then `withdrawn`; both change figures, so both need two people.
"""

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from config.errors import BadInputError, Problem, StoreFullError, StoreUnavailableError
from config.schemas import EDIT as EDIT_SHAPE
from config.schemas import INSTANT
from store import audit, sheets
from store.database import Database, insert_new
from store.models import AUDIT, AUDIT_HEAD, EDIT, EDIT_HISTORY, EVIDENCE, REGISTER, REGISTER_KEY
from store.register_shapes import credit_code
from store.sheets import Field, Sheet, WrongError
from store.sqlite import NO_SPACE, sync

EXCLUDE, REPLACE, CONFIRM, ESTIMATE = KINDS = ("exclude", "replace", "confirm", "estimate")
METHODS: Final = ("linear", "like_days", "linked", "manual")
MAX_EVIDENCE_BYTES: Final = 20 << 20
WAITING: Final = ("waiting", "withdrawing")
DECIDED: Final = ("effective", "refused", "withdrawn")
_COUNTS: Final = ("effective", "withdrawing")
_CHANGES: Final = ("checked", "withdrawn")  # steps by which an edit begins or ceases to count
_SET_HERE: Final = ("edit", "maker", "made_at", "checker", "checked_at", "known_from", "known_to")
_NAMES: Final = ("enterprise", "meter", "register")
ROW: Final = pl.Schema({  # an edit as people see it
    **EDIT_SHAPE, "state": pl.String(), "withdrawn_by": pl.String(), "withdrawn_because": pl.String(), **dict.fromkeys(_NAMES, pl.String()),
})
STEP: Final = pl.Schema({"step": pl.String(), "by": pl.String(), "at": INSTANT, "reason": pl.String()})
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REASON: Final = sheets.text(2000)
_NO_NAME: Final = Problem("name", "is empty", "Say who does it.")
_NO_REASON: Final = Problem("reason", "is empty", "Say why, so that a later reader can follow.")


@dataclass(frozen=True, slots=True)
class EvidenceCheck:
    """What a check of the evidence files found: how many are as they were kept, and what is wrong with the others, by hash."""

    checked: int
    broken: Mapping[str, str]


class Edits:
    """Corrections of what registers showed and consumed."""

    def __init__(self, db: Database, evidence: Path, *, zone: str) -> None:
        self._db, self._folder = db, evidence
        sha256, instant = sheets.text(64), sheets.instant(ZoneInfo(zone))
        number = sheets.number()
        self._fields: Mapping[str, Field] = {
            "register_key": Field(sheets.integer), "enterprise": Field(credit_code), "meter": Field(sheets.identifier),
            "register": Field(sheets.identifier), "kind": Field(sheets.choice(*KINDS), required=True), "start": Field(instant, required=True),
            "end": Field(instant), "value": Field(number), "low": Field(number), "high": Field(number), "method": Field(sheets.choice(*METHODS)),
            "reason": Field(_REASON, required=True), "evidence": Field(sha256),
        }

    def propose(self, rows: pl.DataFrame, *, maker: str, at: datetime) -> list[int]:
        """Propose edits; they change nothing until another person has checked them.

        Args:
            rows: register_key, or enterprise, meter and register; kind (exclude, replace, confirm, estimate), start, [end, value, low,
                high, method, evidence], reason, as in EDIT; what the store sets itself is ignored. Values of estimates and their 95 %
                interval are consumption, multiplier applied; that of a replacement is what the register showed.
            maker: who proposes.
            at: now.

        Returns:
            The numbers of the edits, in the order of the rows.

        Raises:
            BadInputError: every problem with row and column; nothing was written.
        """
        return self._take([sheets.sheet_of("edits", rows.drop(_SET_HERE, strict=False))], maker, at)

    def propose_file(self, path: Path, *, maker: str, at: datetime, evidence: str | None = None) -> list[int]:
        """Propose the edits of a CSV file or a workbook, by the same rules; instants without an offset are local.

        Args:
            path: the file.
            maker: who proposes.
            at: now.
            evidence: the SHA-256 of the evidence of all rows that name none.

        Raises:
            BadInputError: every problem with file, row and column; nothing was written.
        """
        tables = sheets.read_sheets(path, lambda column: column in {"value", "low", "high"})
        return self._take(list(tables.values()), maker, at, evidence)

    def check(self, ids: Sequence[int], *, checker: str, at: datetime) -> int:
        """Agree to edits that wait, or to their withdrawal where that waits; how many.

        Raises:
            BadInputError: an edit that does not exist or does not wait, that the checker made (or asked to withdraw), or that contradicts
                one that counts: two estimates of one time, two values of one instant. Nothing was written.
        """
        with self._changing(ids, checker, at, None) as (session, found, problems):
            for edit in found.values():
                self._not_by(edit, checker, problems)
            self._check_contradictions(session, [edit for edit in found.values() if edit["state"] == "waiting"], problems)
            _raise(problems)
            fresh = [number for number, edit in found.items() if edit["state"] == "waiting"]
            old = [number for number in found if number not in set(fresh)]
            counts = {"state": "effective", "checker": checker, "checked_at": at, "known_from": at}
            _set(session, fresh, "checked", checker, at, None, counts)
            _set(session, old, "withdrawn", checker, at, None, {"state": "withdrawn", "known_to": at})
            _record(session, checker, "edits.check", found, None)
        return len(found)

    def refuse(self, ids: Sequence[int], *, checker: str, at: datetime, reason: str) -> int:
        """Refuse edits that wait, or their withdrawal where that waits (they go on counting); how many.

        Raises:
            BadInputError: as for `check`, or there is no reason; nothing was written.
        """
        with self._changing(ids, checker, at, reason) as (session, found, problems):
            for edit in found.values():
                self._not_by(edit, checker, problems)
            _raise(problems)
            fresh = [number for number, edit in found.items() if edit["state"] == "waiting"]
            old = [number for number in found if number not in set(fresh)]
            _set(session, fresh, "refused", checker, at, reason, {"state": "refused"})
            _set(session, old, "withdrawal_refused", checker, at, reason, {"state": "effective", "withdrawn_by": None, "withdrawn_because": None})
            _record(session, checker, "edits.refuse", found, reason)
        return len(found)

    def withdraw(self, ids: Sequence[int], *, by: str, at: datetime, reason: str) -> int:
        """Ask that edits that count do so no longer, which another person must check; or take back one's own that still wait. How many.

        Raises:
            BadInputError: an edit that does not exist, that neither waits nor counts, that waits and is another person's (refuse it), or there
                is no reason; nothing was written.
        """
        with self._changing(ids, by, at, reason, states=("waiting", "effective")) as (session, found, problems):
            for number, edit in found.items():
                if edit["state"] == "waiting" and not audit.same_person(edit["maker"], by):
                    problems.append(Problem(f"edit {number}", f"waits and was made by {edit['maker']}", "Refuse it instead."))
            _raise(problems)
            fresh = [number for number, edit in found.items() if edit["state"] == "waiting"]
            old = [number for number in found if number not in set(fresh)]
            asked = {"withdrawn_by": by, "withdrawn_because": reason}
            _set(session, fresh, "taken_back", by, at, reason, {"state": "withdrawn", **asked})
            _set(session, old, "withdrawal_asked", by, at, reason, {"state": "withdrawing", **asked})
            _record(session, by, "edits.withdraw", found, reason)
        return len(found)

    def effective(self, as_of: datetime | None = None, *, within: tuple[datetime, datetime] | None = None) -> pl.DataFrame:
        """EDIT: what counts, or counted at an instant (`known_to` is then null: nobody knew of a later withdrawal), by number.

        With `within` [start, end), only edits whose time overlaps it.
        """
        known = EDIT.c.known_from.is_not(None) & EDIT.c.known_to.is_(None)
        if as_of is not None:
            known = (EDIT.c.known_from <= as_of) & or_(EDIT.c.known_to.is_(None), EDIT.c.known_to > as_of)
        if within is not None:
            known &= (EDIT.c.start < within[1]) & (func.coalesce(EDIT.c.end, EDIT.c.start) >= within[0])
        columns = [EDIT.c.id if name == "edit" else EDIT.c[name] for name in EDIT_SHAPE]
        found = self._db.frame(select(*columns).where(known).order_by(EDIT.c.id), EDIT_SHAPE)
        return found.with_columns(known_to=pl.lit(None, INSTANT))

    def waiting(self) -> pl.DataFrame:
        """ROW: what waits for a check, the oldest first: edits (`waiting`) and withdrawals (`withdrawing`)."""
        return self.rows(states=WAITING)

    def rows(
        self, *, states: Collection[str] | None = None, enterprises: Collection[str] | None = None, ids: Collection[int] | None = None,
        kinds: Collection[str] | None = None, evidence: str | None = None, before: int | None = None, newest: int | None = None,
    ) -> pl.DataFrame:
        """ROW: every edit, or those of some states, enterprises, numbers, kinds or evidence, by number.

        With `before`, those with lower numbers; with `newest`, so many of them, the newest first.
        """
        columns = [EDIT.c.id if name == "edit" else REGISTER_KEY.c[name] if name in _NAMES else EDIT.c[name] for name in ROW]
        query = select(*columns).join_from(EDIT, REGISTER_KEY, EDIT.c.register_key == REGISTER_KEY.c.register_key).order_by(EDIT.c.id)
        held = None if evidence is None else [evidence]
        filters = ((EDIT.c.state, states), (REGISTER_KEY.c.enterprise, enterprises), (EDIT.c.id, ids), (EDIT.c.kind, kinds), (EDIT.c.evidence, held))
        for column, wanted in filters:
            if wanted is not None:
                query = query.where(column.in_(sorted(wanted)))
        if before is not None:
            query = query.where(EDIT.c.id < before)
        if newest is not None:
            query = query.order_by(None).order_by(EDIT.c.id.desc()).limit(newest)
        return self._db.frame(query, ROW)

    def history(self, edit: int) -> pl.DataFrame:
        """STEP: what happened to an edit, in order: proposed, checked, refused, taken_back, withdrawal_asked, withdrawal_refused, withdrawn."""
        columns = [EDIT_HISTORY.c[name] for name in STEP]
        return self._db.frame(select(*columns).where(EDIT_HISTORY.c.edit == edit).order_by(EDIT_HISTORY.c.id), STEP)

    def version(self) -> int:
        """Grows whenever an edit begins or ceases to count."""
        query = select(func.coalesce(func.max(EDIT_HISTORY.c.id), 0)).where(EDIT_HISTORY.c.step.in_(_CHANGES))
        with self._db.reading() as session:
            return int(session.execute(query).scalar_one())

    # --- evidence ---

    def keep_evidence(self, content: bytes, *, name: str, by: str, at: datetime) -> str:
        """Keep a file of any type that shows why an edit is right; its SHA-256. The same content is kept once.

        Raises:
            BadInputError: it is empty or larger than MAX_EVIDENCE_BYTES; nothing was kept.
            StoreFullError, StoreUnavailableError: nothing was kept.
        """
        if not 0 < len(content) <= MAX_EVIDENCE_BYTES:
            remedy = f"Give a file of 1 to {MAX_EVIDENCE_BYTES >> 20} MB, or one that says where the whole is kept."
            raise BadInputError([Problem(f"evidence {name}", f"has {len(content):,} bytes", remedy)])
        sha256 = hashlib.sha256(content).hexdigest()
        self._write(self._path(sha256), content)
        with self._db.session() as session:
            _take_turn(session)
            row = {"sha256": sha256, "name": _file_name(name), "size_bytes": len(content), "kept_by": by, "kept_at": at}
            if session.execute(insert_new(session, EVIDENCE).values(**row).returning(EVIDENCE.c.sha256)).first() is not None:
                audit.append(session, by=by, action="edits.evidence", subject=sha256, details={"name": row["name"], "size_bytes": len(content)})
        return sha256

    def evidence(self, sha256: str) -> tuple[str, bytes] | None:
        """Name and content of an evidence file, or None where there is none of that hash.

        Raises:
            StoreUnavailableError: it is gone or is not what was kept.
        """
        with self._db.reading() as session:
            name = session.execute(select(EVIDENCE.c.name).where(EVIDENCE.c.sha256 == sha256)).scalar_one_or_none()
        if name is None:
            return None
        path = self._path(sha256)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StoreUnavailableError(path, error, "Restore it from a backup.") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreUnavailableError(path, "was altered since it was kept", "Restore it from a backup.")
        return str(name), content

    def verify_evidence(self) -> EvidenceCheck:
        """Hash every file that was ever kept as evidence or that an edit names, also where its row in the database is gone."""
        with self._db.reading() as session:
            sources = select(EVIDENCE.c.sha256), select(EDIT.c.evidence).distinct(), select(AUDIT.c.subject).where(AUDIT.c.action == "edits.evidence")
            wanted = {value for query in sources for value in session.execute(query).scalars() if value is not None}
        broken = {sha256: what for sha256 in sorted(wanted) if (what := self._trouble(sha256))}
        return EvidenceCheck(len(wanted) - len(broken), broken)

    def _trouble(self, sha256: str) -> str:
        try:
            with self._path(sha256).open("rb") as file:
                return "" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "was altered since it was kept"
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {error}"

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256

    def _write(self, path: Path, content: bytes) -> None:
        if not self._trouble(path.name):
            return
        draft = None
        try:
            handle, draft = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
            sync(self._folder)
        except OSError as error:
            if draft is not None:
                Path(draft).unlink(missing_ok=True)
            if error.errno in NO_SPACE:
                raise StoreFullError(path, error) from error
            raise StoreUnavailableError(path, error, "Check that the folder is there and writable.") from error

    # --- rules ---

    def _take(self, tables: Iterable[Sheet], maker: str, at: datetime, evidence: str | None = None) -> list[int]:
        problems: list[Problem] = [_NO_NAME] if audit.same_person(maker, "") else []
        written = [pair for sheet in tables if sheet.columns for pair in sheets.parse_rows(sheet, self._fields, problems)]
        with self._db.session() as session:
            _take_turn(session)
            keys = {tuple(row[1:]): row[0] for row in session.execute(select(REGISTER_KEY))}
            current = session.execute(select(REGISTER.c.register_key, REGISTER.c.kind, REGISTER.c.net).where(REGISTER.c.known_to.is_(None))).all()
            net, kinds = {row.register_key for row in current if row.net}, {row.register_key: row.kind for row in current}
            kept = set(session.execute(select(EVIDENCE.c.sha256)).scalars())
            fresh: list[tuple[str, dict[str, Any]]] = []
            for row, values in written:
                edit = {name: values.get(name) for name in self._fields} | {"state": "waiting", "maker": maker, "made_at": at}
                edit["evidence"] = edit["evidence"] or evidence
                names = tuple(edit.pop(name) for name in _NAMES)
                known = edit["register_key"] in keys.values() if edit["register_key"] is not None else names in keys
                if not known:
                    shown = edit["register_key"] if edit["register_key"] is not None else "/".join(name or "" for name in names)
                    what, remedy = f"{shown} is not in the register", "Name a registered one by enterprise, meter and register."
                    problems.append(Problem(f"{row.where} column register", what, remedy))
                elif edit["register_key"] is None:
                    edit["register_key"] = keys[names]
                if edit["evidence"] is not None and edit["evidence"] not in kept:
                    what, remedy = "is no SHA-256 of a file that was kept", "Keep the evidence file first, and give its SHA-256."
                    problems.append(Problem(f"{row.where} column evidence", what, remedy))
                wrong = _wrong(edit, at, net=edit["register_key"] in net, register=kinds.get(edit["register_key"]))
                problems += [Problem(f"{row.where} column {column}", what, remedy) for column, what, remedy in wrong]
                fresh.append((row.where, edit))
            self._check_contradictions(session, [{**edit, "where": where} for where, edit in fresh], problems)
            if not written and not problems:
                problems.append(Problem("edits", "there is none", "Give at least one row."))
            _raise(problems)
            inserted = session.execute(insert(EDIT).returning(EDIT.c.id, sort_by_parameter_order=True), [edit for _, edit in fresh])
            made = {int(number): edit for number, (_, edit) in zip(inserted.scalars(), fresh, strict=True)}
            steps = [{"edit": number, "step": "proposed", "by": maker, "at": at, "reason": edit["reason"]} for number, edit in made.items()]
            session.execute(insert(EDIT_HISTORY), steps)
            _record(session, maker, "edits.propose", made, None)
        return list(made)

    def _check_contradictions(self, session: Session, edits: Sequence[Mapping[str, Any]], problems: list[Problem]) -> None:
        """Two estimates of one time, or two values of one instant: among the edits, or with one that counts."""
        keys = {edit["register_key"] for edit in edits if edit["kind"] in {ESTIMATE, REPLACE}}
        counting = select(EDIT).where(EDIT.c.state.in_(_COUNTS), EDIT.c.kind.in_((ESTIMATE, REPLACE)), EDIT.c.register_key.in_(keys))
        others: dict[tuple[Any, Any], list[Mapping[Any, Any]]] = {}
        for counts in session.execute(counting).mappings():
            others.setdefault((counts["register_key"], counts["kind"]), []).append(counts)
        for edit in edits:
            beside_it = others.setdefault((edit["register_key"], edit["kind"]), [])
            for other in beside_it:
                if _contradict(edit, other):
                    where = edit.get("where") or f"edit {edit['id']}"
                    beside = other.get("where") or f"edit {other['id']}, which counts"
                    what = "estimates a time" if edit["kind"] == ESTIMATE else "gives a value for an instant"
                    remedy = "Withdraw that one first, or change this one." if "id" in other else "Keep one of the two."
                    problems.append(Problem(where, f"{what} for which {beside} gives one too", remedy))
                    break
            beside_it.append(edit)

    @contextmanager
    def _changing(
        self, ids: Sequence[int], by: str, at: datetime, reason: str | None, states: Collection[str] = WAITING,
    ) -> Iterator[tuple[Session, dict[int, Mapping[Any, Any]], list[Problem]]]:
        """The edits of these numbers that are in one of the states, and what is wrong with the others."""
        problems = [_NO_NAME] if audit.same_person(by, "") else []
        if reason is not None:
            problems += _wrong_reason(reason)
        with self._db.session() as session:
            _take_turn(session)
            named = session.execute(select(EDIT).where(EDIT.c.id.in_(ids)).order_by(EDIT.c.id)).mappings()
            found: dict[int, Mapping[Any, Any]] = {row["id"]: row for row in named}
            for number in sorted(set(ids)):
                if number not in found:
                    problems.append(Problem(f"edit {number}", "does not exist", "`tcewatch edits list` shows the numbers."))
                elif found[number]["state"] not in states:
                    remedy = f"Only what is {' or '.join(states)} can be changed so."
                    problems.append(Problem(f"edit {number}", f"is {found[number]['state']}", remedy))
                elif at < (last := max(filter(None, (found[number][name] for name in ("made_at", "checked_at"))))):
                    problems.append(Problem(f"edit {number}", f"was last changed at {last.isoformat()}, after now", "Set the clock right."))
            yield session, {number: edit for number, edit in found.items() if edit["state"] in states}, problems

    def _not_by(self, edit: Mapping[str, Any], checker: str, problems: list[Problem]) -> None:
        who, did = (edit["maker"], "made") if edit["state"] == "waiting" else (edit["withdrawn_by"], "asked to be withdrawn")
        if audit.same_person(who, checker):
            problems.append(Problem(f"edit {edit['id']}", f"was {did} by {who}, who cannot check it too", "Let another person check it."))


def _wrong_reason(reason: str) -> list[Problem]:
    try:
        return [] if _REASON(reason).strip() else [_NO_REASON]
    except WrongError as wrong:
        return [Problem("reason", wrong.what, wrong.remedy)]


def _wrong(edit: Mapping[str, Any], at: datetime, *, net: bool, register: str | None) -> list[tuple[str, str, str]]:
    """What does not hold together in a row of a register of that kind: column, what, remedy."""
    found: list[tuple[str, str, str]] = []
    kind, start, end = edit["kind"], edit["start"], edit["end"]
    if register == "state" and kind in {CONFIRM, ESTIMATE}:
        found.append(("kind", f"{kind} concerns consumption, and a state has none", "Exclude or replace its readings."))
    if register == "derived" and kind in {EXCLUDE, REPLACE, CONFIRM}:
        found.append(("kind", f"{kind} concerns readings, and a derived register has none", "Edit the registers of its formula."))
    wanted = {EXCLUDE: {"end"}, REPLACE: {"value"}, CONFIRM: {"end"}, ESTIMATE: {"end", "value", "method"}}[kind]
    allowed = wanted | ({"low", "high"} if kind == ESTIMATE else set())
    for name in ("end", "value", "low", "high", "method"):
        if name in wanted and edit[name] is None:
            found.append((name, "is empty", f"An edit of kind {kind} needs it."))
        if name not in allowed and edit[name] is not None:
            found.append((name, f"does not belong to kind {kind}", "Leave the cell empty."))
    if end is not None and end <= start:
        found.append(("end", f"{end.isoformat()} is not after start ({start.isoformat()})", "Mend start or end."))
    for name, instant in (("start", start), ("end", end)):
        if instant is not None and instant < _FIRST:
            found.append((name, f"{instant.isoformat()} is before any reading", "Mend the year."))
        if instant is not None and instant > at:
            found.append((name, f"{instant.isoformat()} is still to come", "Edit what has been."))
    low, value, high = edit["low"], edit["value"], edit["high"]
    if (low is None) != (high is None):
        found.append(("low" if low is None else "high", "is empty", "Give both bounds or none."))
    elif kind == ESTIMATE and None not in (low, value, high) and not low <= value <= high:
        found.append(("value", f"{value:.15g} does not lie between low ({low:.15g}) and high ({high:.15g})", "Mend one of the three."))
    if kind == ESTIMATE and value is not None and value < 0 and not net:
        found.append(("value", f"{value:.15g} is below 0", "Only a register that is `net` can have a negative consumption."))
    return found


def _contradict(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two edits of one kind and register cannot both count."""
    if one["register_key"] is None:  # of a row that is refused for it
        return False
    if one["kind"] == REPLACE:
        return bool(one["start"] == other["start"])
    ends = one["end"] is not None and other["end"] is not None
    return one["kind"] == ESTIMATE and ends and bool(one["start"] < other["end"] and other["start"] < one["end"])


def _set(session: Session, ids: Sequence[int], step: str, by: str, at: datetime, reason: str | None, values: Mapping[str, Any]) -> None:
    if ids:
        session.execute(update(EDIT).where(EDIT.c.id.in_(ids)).values(**values))
        session.execute(insert(EDIT_HISTORY), [{"edit": number, "step": step, "by": by, "at": at, "reason": reason} for number in ids])


def _record(session: Session, by: str, action: str, edits: Mapping[int, Mapping[str, Any]], reason: str | None) -> None:
    """Tell the audit of each edit with all that it says, so that the chain proves what was proposed and what was agreed to."""
    content = [name for name in EDIT_SHAPE if name not in _SET_HERE]
    rows = [{"edit": number, **{name: edit[name] for name in content if edit[name] is not None}} for number, edit in edits.items()]
    audit.append(session, by=by, action=action, subject=f"{len(edits)} edits", details={"edits": rows, **({"reason": reason} if reason else {})})


def _take_turn(session: Session) -> None:
    """One writer at a time, so that the numbers of the history grow in the order in which they can be seen."""
    session.execute(select(AUDIT_HEAD.c.id).with_for_update())


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        raise BadInputError(problems)


def _file_name(name: str) -> str:
    """The last part of a path as its owner wrote it, without what cannot be shown."""
    plain = "".join(sign for sign in name.replace("\\", "/").rpartition("/")[2] if sign.isprintable())
    return plain[-200:] or "evidence"
